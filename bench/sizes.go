package main

import (
	"os"
	"strconv"
)

// packings are the ways to pack a bundle that the report shows.
var packings = []struct {
	name string
	args []string
}{
	{"abupdate, default (level 19)", nil},
	{"abupdate, smallest", []string{"--level", "22", "--frame-size", "16MiB"}},
}

// sizes is what it takes to make a bundle of v1, and how large it gets. One
// run of each: the sizes do not vary.
func (b *bench) sizes() error {
	t := b.report.table("Bundle of v1", "rauc")
	if err := b.keys(); err != nil {
		return err
	}
	for _, p := range packings {
		out := b.path("v1-size.abu")
		args := b.packArgs("v1", "2.0.0", out, p.args)
		u, err := b.measure(b.agent, args...)
		if err != nil {
			return err
		}
		if u.size, err = size(out); err != nil {
			return err
		}
		if err := os.Remove(out); err != nil {
			return err
		}
		u.written = 0
		t.rows = append(t.rows, row{p.name, "abupdate bundle create … " + join(p.args), u})
	}
	return b.peerSizes(t)
}

func (b *bench) peerSizes(t *table) error {
	rauc := contestant{name: "rauc", command: "rauc bundle", needs: []string{"rauc", "mksquashfs/squashfs-tools", "openssl"}, run: func() (usage, error) {
		_ = os.Remove(b.path("v1.raucb"))
		out, u, err := b.timed(b.raucBundle)
		if err == nil {
			u.size, err = size(out)
		}
		return u, err
	}}
	all := []contestant{rauc}
	for _, level := range []int{9, 19} {
		out := b.path("v1.whole.zst")
		args := []string{"-q", "-f", "--long=27", "-" + strconv.Itoa(level), b.image("v1"), "-o", out}
		all = append(all, contestant{name: "zstd -" + strconv.Itoa(level) + " --long=27, one stream", command: "zstd " + join(args[2:4]) + " v1.img", needs: []string{"zstd"}, run: func() (usage, error) {
			u, err := b.measure("zstd", args...)
			if err == nil {
				u.size, err = size(out)
			}
			u.written = 0
			return u, err
		}})
	}
	for _, c := range all {
		if pkg := c.missing(); pkg != "" {
			b.report.absent(pkg)
			continue
		}
		u, err := c.run()
		if err != nil {
			return err
		}
		t.rows = append(t.rows, row{c.name, c.command, u})
	}
	return nil
}
