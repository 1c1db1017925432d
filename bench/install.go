package main

import "fmt"

// install is a full install of v1 over a slot full of v2.
func (b *bench) install() error {
	bundle, err := b.pack("v1", "2.0.0")
	if err != nil {
		return err
	}
	dev, err := b.newAppliance("gateway.img", "v2")
	if err != nil {
		return err
	}
	apply := func(name string, flags ...string) contestant {
		args := append([]string{"--quiet", "--disk", dev.disk, "apply", bundle}, flags...)
		return contestant{
			name: name, command: fmt.Sprint("abupdate --disk gateway.img apply v1.abu ", join(flags)), prepare: dev.reset,
			run:   func() (usage, error) { return b.measure(b.agent, args...) },
			check: func() error { return dev.holds(b.image("v1")) },
		}
	}
	all := []contestant{
		apply("abupdate, read back"),
		apply("abupdate, not read back", "--no-read-back"),
	}
	for _, peer := range []func(*bench) (contestant, func(), error){
		(*bench).rauc, (*bench).swupdate, (*bench).zstdDD, (*bench).casyncExtract,
	} {
		c, done, err := peer(b)
		if done != nil {
			defer done()
		}
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	t := b.report.table("Full install of v1", "rauc", "swupdate")
	return b.compete(t, all)
}

// again is the same image again, into a slot that holds it.
func (b *bench) again() error {
	bundle, err := b.pack("v1", "2.0.0")
	if err != nil {
		return err
	}
	dev, err := b.newAppliance("gateway.img", "v2")
	if err != nil {
		return err
	}
	run := func() (usage, error) {
		return b.measure(b.agent, "--quiet", "--disk", dev.disk, "apply", "--reinstall", "--no-preserve", bundle)
	}
	check := func() error { return dev.holds(b.image("v1")) }
	command := "abupdate --disk gateway.img apply --reinstall --no-preserve v1.abu"
	return b.compete(b.report.table("The same image again", "abupdate, first time"), []contestant{
		{name: "abupdate, first time", command: command, prepare: dev.reset, run: run, check: check},
		// The boot state is armed for v1 now, and the slot holds it.
		{name: "abupdate, again", command: command, prepare: func() error { return b.forget(dev) }, run: run, check: check},
	})
}

// forget takes an armed update back: v2 runs on, and v1 stays where it is.
func (b *bench) forget(dev *appliance) error {
	return b.do(b.agent, "--quiet", "--disk", dev.disk, "rollback")
}
