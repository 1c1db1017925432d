package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// patience is how long one step may take on a slow machine.
const patience = 3 * time.Minute

// gateway is the appliance, as its administrator sees it.
type gateway struct {
	machine *vm.Machine
	server  string
}

// story is the demo: each line is a step, and each step is checked.
func (g *gateway) story(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		g.firstBoot,
		g.goodUpdate,
		g.rollback,
		g.panickingUpdate,
		g.unhealthyUpdate,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) firstBoot(ctx context.Context) error {
	say("power on: GRUB looks at the boot state and starts slot a")
	if _, err := g.boots(ctx, "a", "1.0.0", "good"); err != nil {
		return err
	}
	return g.shows(ctx, "a", "1.0.0")
}

func (g *gateway) goodUpdate(ctx context.Context) error {
	if err := g.apply(ctx, "2.0.0", "b"); err != nil {
		return err
	}
	if err := g.reboot(ctx, "reboot"); err != nil {
		return err
	}
	if _, err := g.boots(ctx, "b", "2.0.0", "trial"); err != nil {
		return err
	}
	if err := g.commits(ctx); err != nil {
		return err
	}
	return g.shows(ctx, "b", "2.0.0")
}

func (g *gateway) rollback(ctx context.Context) error {
	say("in the gateway: abupdate rollback --reboot (somebody wants 1.0.0 back)")
	if err := g.reboot(ctx, "rollback --reboot"); err != nil {
		return err
	}
	if _, err := g.boots(ctx, "a", "1.0.0", "trial"); err != nil {
		return err
	}
	if err := g.commits(ctx); err != nil {
		return err
	}
	return g.shows(ctx, "a", "1.0.0")
}

func (g *gateway) panickingUpdate(ctx context.Context) error {
	if err := g.apply(ctx, "3.0.0", "b"); err != nil {
		return err
	}
	if err := g.reboot(ctx, "reboot"); err != nil {
		return err
	}
	for try := 1; ; try++ {
		b, err := g.boot(ctx)
		if err != nil {
			return err
		}
		if b.Slot == "a" {
			say("  no try is left: GRUB goes back to slot a, version %s, by itself", b.Version)
			break
		}
		if err := g.expect(ctx, `Kernel panic`); err != nil {
			return err
		}
		say("  try %d of slot b: version %s crashes the kernel, which reboots", try, b.Version)
	}
	if err := g.up(ctx); err != nil {
		return err
	}
	return g.shows(ctx, "a", "1.0.0")
}

func (g *gateway) unhealthyUpdate(ctx context.Context) error {
	if err := g.apply(ctx, "4.0.0", "b"); err != nil {
		return err
	}
	if err := g.reboot(ctx, "reboot"); err != nil {
		return err
	}
	if _, err := g.boots(ctx, "b", "4.0.0", "trial"); err != nil {
		return err
	}
	if err := g.expect(ctx, `going back to slot a`); err != nil {
		return err
	}
	say("  its health check fails until the deadline: the slot is marked bad, and the gateway reboots")
	if _, err := g.boots(ctx, "a", "1.0.0", "good"); err != nil {
		return err
	}
	return g.shows(ctx, "a", "1.0.0")
}

// apply runs abupdate in the gateway, which fetches the bundle over HTTP.
func (g *gateway) apply(ctx context.Context, version, target string) error {
	url := fmt.Sprintf("%s/%s.abu", g.server, version)
	say("in the gateway: abupdate apply %s", url)
	out, err := g.abupdate(ctx, "apply "+url)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if strings.Contains(line, "slot "+target) && strings.Contains(line, version) {
			say("  %s", line)
			return nil
		}
	}
	return fmt.Errorf("abupdate apply %s said nothing of slot %s:\n%s", url, target, out)
}

// abupdate runs the agent in the gateway.
func (g *gateway) abupdate(ctx context.Context, args string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, code, err := g.machine.Control.Run(ctx, "abupdate "+args)
	if err == nil && code != 0 {
		err = fmt.Errorf("abupdate %s ended with exit code %d:\n%s", args, code, out)
	}
	return out, err
}

// reboot runs a verb that reboots, in the background: its answer would be lost
// with the machine.
func (g *gateway) reboot(ctx context.Context, verb string) error {
	if verb == "reboot" {
		say("  abupdate reboot: the shutdown arms the new slot for a trial")
	}
	_, _, err := g.machine.Control.Run(ctx, "(abupdate "+verb+" >/dev/console 2>&1 &)")
	return err
}

// boot waits for the next start of a system.
func (g *gateway) boot(ctx context.Context) (tiny.Boot, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	groups, err := g.machine.Console.Expect(ctx, tiny.BootPattern)
	if err != nil {
		return tiny.Boot{}, err
	}
	return tiny.ParseBoot(groups)
}

// expect waits for words on the gateway's console.
func (g *gateway) expect(ctx context.Context, pattern string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := g.machine.Console.Expect(ctx, pattern)
	return err
}

// boots waits for the next start, which must be the one named, until its
// network is up.
func (g *gateway) boots(ctx context.Context, slot, version, why string) (tiny.Boot, error) {
	b, err := g.boot(ctx)
	if err != nil {
		return b, err
	}
	if b.Slot != slot || b.Version != version || b.Why != why {
		return b, fmt.Errorf("started slot %s, version %s (%s); expected slot %s, version %s (%s)",
			b.Slot, b.Version, b.Why, slot, version, why)
	}
	what := map[string]string{"good": "", "trial": ", on trial"}[why]
	say("  slot %s starts%s: version %s", slot, what, version)
	return b, g.up(ctx)
}

func (g *gateway) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := g.expect(ctx, tiny.UpPattern); err != nil {
		return err
	}
	return g.machine.Control.Ready(ctx)
}

// status is the part of `abupdate status --json` that the demo looks at.
type status struct {
	Booted    string `json:"booted"`
	Committed bool   `json:"committed"`
	Slots     map[string]struct {
		Version string `json:"version"`
		State   string `json:"state"`
	} `json:"slots"`
}

func (g *gateway) status(ctx context.Context) (s status, err error) {
	out, err := g.abupdate(ctx, "status --json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("abupdate status --json: %w:\n%s", err, out)
	}
	return s, nil
}

// commits waits until the health check has made the trial slot good.
func (g *gateway) commits(ctx context.Context) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Second) {
		s, err := g.status(ctx)
		if err != nil {
			return err
		}
		if s.Committed {
			say("  its health checks pass: slot %s is committed", s.Booted)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("slot %s was not committed within %v", s.Booted, patience)
		}
	}
}

// shows checks and prints what the gateway runs now.
func (g *gateway) shows(ctx context.Context, slot, version string) error {
	s, err := g.status(ctx)
	if err != nil {
		return err
	}
	if s.Booted != slot || s.Slots[slot].Version != version || s.Slots[slot].State != "good" {
		return fmt.Errorf("the gateway runs slot %s, %+v; expected slot %s, version %s, good", s.Booted, s.Slots, slot, version)
	}
	other := map[string]string{"a": "b", "b": "a"}[slot]
	line := fmt.Sprintf("slot %s: version %s, good, running", slot, version)
	if o := s.Slots[other]; o.Version != "" {
		line += fmt.Sprintf("; slot %s: version %s, %s", other, o.Version, o.State)
	} else {
		line += fmt.Sprintf("; slot %s: %s", other, o.State)
	}
	say("  status: %s\n", line)
	return nil
}
