package main

import "os"

// packings are the ways to pack a bundle that the report shows.
var packings = []struct {
	name string
	args []string
}{
	{"abupdate, default (level 19)", nil},
	{"abupdate, smallest", []string{"--level", "22", "--frame-size", "16MiB"}},
}

// sizes is what it takes to make a bundle of v1, and how large it gets.
func (b *bench) sizes() error {
	if err := b.keys(); err != nil {
		return err
	}
	out := b.path("v1-size.abu")
	defer b.remove("v1-size.abu")
	var all []contestant
	for _, p := range packings {
		all = append(all, b.sized(p.name, "abupdate bundle create … "+join(p.args), out, nil, func() (usage, error) {
			_ = os.Remove(out)
			return b.measure(b.agent, b.packArgs("v1", "2.0.0", out, p.args)...)
		}))
	}
	all = append(all, b.sized("rauc", "rauc bundle", b.path("v1.raucb"), []string{"rauc", "mksquashfs/squashfs-tools", "openssl"}, func() (usage, error) {
		_ = os.Remove(b.path("v1.raucb"))
		_, u, err := b.timed(b.raucBundle)
		return u, err
	}))
	for _, level := range []string{"-9", "-19"} {
		out := b.path("v1.whole.zst")
		name := "zstd " + level + " --long=27"
		all = append(all, b.sized(name+", one stream", name+" v1.img", out, []string{"zstd"}, func() (usage, error) {
			return b.measure("zstd", "-q", "-f", "--long=27", level, b.image("v1"), "-o", out)
		}))
	}
	return b.compete(b.report.table("Bundle of v1", "rauc"), all)
}
