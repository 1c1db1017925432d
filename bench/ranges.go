package main

import (
	"fmt"
	"slices"
)

// ranges is an update over HTTP of a device that runs v1, with v1 in its other
// slot too, so that nothing there helps.
func (b *bench) ranges() error {
	dev, err := b.newAppliance("gateway1.img", "v1")
	if err != nil {
		return err
	}
	defer b.remove("gateway1.img", "gateway1.img.saved")
	previous, err := b.pack("v1", "2.0.0")
	if err != nil {
		return err
	}
	files := []string{"--layout", "files"}
	if b.level != "" {
		files = append(files, "--level", b.level)
	}
	for _, to := range []string{"v2", "v3"} {
		var all []contestant
		for _, packing := range []struct {
			name string
			args []string
		}{
			{"abupdate, --layout files", files},
			{"abupdate, --layout files --previous v1.abu", append(slices.Clone(files), "--previous", previous)},
			{"abupdate, default frames", nil},
		} {
			if packing.args == nil && (to == "v3" || b.level != "") {
				continue // adds nothing to v2's; takes long
			}
			bundle, err := b.pack(to, "2.0.0", packing.args...)
			if err != nil {
				return err
			}
			web, err := serve(bundle)
			if err != nil {
				return err
			}
			defer web.close()
			all = append(all, contestant{
				name: packing.name, command: fmt.Sprintf("abupdate --disk gateway.img apply http://…/%s.abu  (bundle create … %s)", to, join(packing.args)),
				prepare: func() error { web.reset(); return dev.reset() },
				run: func() (usage, error) {
					u, err := b.measure(b.agent, "--quiet", "--disk", dev.disk, "apply", web.url)
					u.fetched, u.requests = web.sent.Load(), web.requests.Load()
					return u, err
				},
				check: func() error { return dev.holds(b.image(to)) },
			})
		}
		all = append(all, b.casyncFetch("v1", to), b.missingBlocks("v1", to))
		if err := b.compete(b.report.table("v1 to "+to+" over HTTP", all[0].name), all); err != nil {
			return err
		}
	}
	return nil
}
