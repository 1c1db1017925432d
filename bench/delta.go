package main

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/bundle/delta"
)

// deltaPairs are the updates that deltas are made for.
var deltaPairs = []struct {
	from, to string
	peers    bool // beside all of them and a bundle in the default packing: they take minutes each
}{
	{"v1", "v2", true},
	{"v1", "v3", true},
	{"v1", "v2b", false},
	{"v1u", "v2u", false},
}

// deltas is what a delta costs to make, how large it gets, and what it costs a
// device to apply.
func (b *bench) deltas() error {
	for _, p := range deltaPairs {
		old, err := b.pack(p.from, "1.0.0", "--level", "1")
		if err != nil {
			return err
		}
		var packing []string
		if !p.peers {
			packing = []string{"--level", "1"}
		}
		to, err := b.pack(p.to, "2.0.0", packing...)
		if err != nil {
			return err
		}
		t := b.report.table(fmt.Sprintf("Delta from %s to %s: making it", p.from, p.to), "zstd --patch-from -19")
		all := []contestant{b.deltaOf(old, to, p.from, p.to, delta.Quick), b.deltaOf(old, to, p.from, p.to, delta.Best), b.patchFrom(p.from, p.to)}
		if p.peers {
			all = append(all, b.xdelta(p.from, p.to), b.rdiff(p.from, p.to), b.bsdiff(p.from, p.to))
		}
		if err := b.compete(t, all); err != nil {
			return err
		}
		if err := b.applyDeltas(p.from, p.to, to); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) deltaPath(from, to string, level delta.Level) string {
	return b.path(fmt.Sprintf("%s-%s-%v.abud", from, to, level))
}

// sized is a contestant that makes a file, once: sizes do not vary, and these
// take long.
func (b *bench) sized(name, command, out string, needs []string, run func() (usage, error)) contestant {
	return contestant{name: name, command: command, needs: needs, rounds: 1, run: func() (usage, error) {
		u, err := run()
		if err == nil {
			u.size, err = size(out)
		}
		u.written = 0
		return u, err
	}}
}

func (b *bench) deltaOf(old, to, from, next string, level delta.Level) contestant {
	out := b.deltaPath(from, next, level)
	return b.sized(fmt.Sprintf("abupdate, %v", level), fmt.Sprintf("abupdate bundle delta --from %s.abu --to %s.abu --level %v", from, next, level), out, nil,
		func() (usage, error) {
			return b.measure(b.agent, "--quiet", "bundle", "delta", "--from", old, "--to", to, "--level", level.String(), "--out", out)
		})
}

// applyDeltas applies what deltaOf made, beside the whole bundle.
func (b *bench) applyDeltas(from, to, whole string) error {
	dev, err := b.newAppliance("gateway1.img", from)
	if err != nil {
		return err
	}
	defer b.remove("gateway1.img", "gateway1.img.saved")
	apply := func(name, what, bundle string) contestant {
		return contestant{
			name: name, command: "abupdate --disk gateway.img apply " + what, prepare: dev.reset,
			run:   func() (usage, error) { return b.measure(b.agent, "--quiet", "--disk", dev.disk, "apply", bundle) },
			check: func() error { return dev.holds(b.image(to)) },
		}
	}
	return b.compete(b.report.table(fmt.Sprintf("Delta from %s to %s: applying it", from, to), "abupdate, whole bundle"), []contestant{
		apply("abupdate, whole bundle", to+".abu", whole),
		apply("abupdate, delta, quick", to+".abud", b.deltaPath(from, to, delta.Quick)),
		apply("abupdate, delta, best", to+".abud", b.deltaPath(from, to, delta.Best)),
	})
}

func (b *bench) patchFrom(from, to string) contestant {
	out := b.path("delta.zst")
	return b.sized("zstd --patch-from -19", fmt.Sprintf("zstd -19 --long=31 --patch-from=%s.img %s.img", from, to), out, []string{"zstd"}, func() (usage, error) {
		return b.measure("zstd", "-q", "-f", "-19", "--long=31", "--single-thread", "--patch-from="+b.image(from), b.image(to), "-o", out)
	})
}

func (b *bench) xdelta(from, to string) contestant {
	out := b.path("delta.xd3")
	return b.sized("xdelta3 -9", fmt.Sprintf("xdelta3 -9 -B 1610612736 -e -s %s.img %s.img", from, to), out, []string{"xdelta3"}, func() (usage, error) {
		return b.measure("xdelta3", "-q", "-f", "-9", "-B", "1610612736", "-e", "-s", b.image(from), b.image(to), out)
	})
}

func (b *bench) rdiff(from, to string) contestant {
	out := b.path("delta.rdiff")
	return b.sized("rdiff, then zstd -19", fmt.Sprintf("rdiff signature %s.img s; rdiff delta s %s.img | zstd -19", from, to), out, []string{"rdiff", "zstd"}, func() (usage, error) {
		defer b.remove("signature")
		return b.measure("sh", "-c", fmt.Sprintf("rm -f %[1]s %[4]s; rdiff signature %[2]s %[1]s && rdiff delta %[1]s %[3]s | zstd -q -19 -o %[4]s",
			b.path("signature"), b.image(from), b.image(to), out))
	})
}

// bsdiff goes file by file: on whole images it needs 17 times their size in
// memory. What it makes knows nothing of the file system.
func (b *bench) bsdiff(from, to string) contestant {
	out := b.path("delta.bsdiff")
	script := `set -e; umask 077; rm -rf "$3"; mkdir -p "$3/a" "$3/b" "$3/out"
trap 'cd /; umount "$3/a" "$3/b" 2>/dev/null' EXIT
mount -o ro,loop,noload "$1" "$3/a"; mount -o ro,loop,noload "$2" "$3/b"
cd "$3/b"; n=0; echo >"$3/none" # bsdiff takes no empty file
find . -xdev -type f | LC_ALL=C sort | while read -r f; do
  n=$((n+1)); old="$3/none"
  if [ -f "../a/$f" ] && [ ! -L "../a/$f" ]; then cmp -s "$f" "../a/$f" && continue; old="../a/$f"; fi
  if [ -s "$f" ]; then [ -s "$old" ] || old="$3/none"; bsdiff "$old" "$f" "../out/$n"; fi
done`
	return b.sized("bsdiff, file by file, without the file system", "for each changed file: bsdiff OLD NEW PATCH", out+"/out", []string{"bsdiff", "mount"}, func() (usage, error) {
		return b.measure("bash", "-c", script, "bsdiff", b.image(from), b.image(to), out)
	})
}
