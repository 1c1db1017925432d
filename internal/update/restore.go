package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/preserve"
	"github.com/abupdate/abupdate/internal/slot"
)

// Preserved says what became of the device's configuration, in the words of
// the JSON results.
type Preserved string

// The outcomes.
const (
	PreserveDone    Preserved = "done"    // carried into the slot
	PreserveSkipped Preserved = "skipped" // not carried, by request
	PreserveNone    Preserved = "none"    // not carried: not yet, or a disk image
)

// PlanPreserve computes what would be carried into the slot that is not
// running, or why it cannot be. It writes nothing, and the plan is only good
// for looking at: the slot is mounted no longer.
func (u *Updater) PlanPreserve(ctx context.Context) (plan *preserve.Plan, err error) {
	err = u.mounted(u.facts.Target(), true, func(root *os.Root) error {
		return withPlan(ctx, root, func(p *preserve.Plan) error {
			plan = p
			return nil
		})
	})
	return plan, err
}

// restore carries the running system's configuration into a slot that is not
// bootable: everything is computed first, and a cut on the way leaves a slot
// that is not armed and that the next run restores again.
func (u *Updater) restore(ctx context.Context, id slot.ID) (kernelArgs string, err error) {
	err = u.mounted(id, false, func(root *os.Root) error {
		return withPlan(ctx, root, func(plan *preserve.Plan) error {
			for _, n := range plan.Notes {
				if n.Kind == preserve.Warning {
					u.o.Notice("%s: %s", n.Subject, n.Detail)
				}
			}
			kernelArgs = plan.KernelArgs
			return plan.Apply(ctx, root)
		})
	})
	return kernelArgs, err
}

// withPlan computes what the running system's configuration becomes in target.
// The plan reads the running system's files for as long as do works on it.
func withPlan(ctx context.Context, target *os.Root, do func(*preserve.Plan) error) error {
	running, err := os.OpenRoot("/")
	if err != nil {
		return err
	}
	defer running.Close()
	// What is mounted below the root stays where it is, whichever slot runs.
	old, err := preserve.SlotTree(running)
	if err != nil {
		return err
	}
	next := preserve.DirTree(target)
	policy, err := preserve.LoadPolicy(old, next)
	if err != nil {
		return err
	}
	plan, err := preserve.NewPlan(ctx, old, next, policy)
	if err != nil {
		return err
	}
	return do(plan)
}

// mounted mounts a slot that holds a whole image and calls do with its root.
func (u *Updater) mounted(id slot.ID, readOnly bool, do func(root *os.Root) error) error {
	s := u.facts.Slot(id)
	if !u.dev.Live || !s.whole() {
		return fmt.Errorf("internal error: mounting slot %v, which is not written or not on this machine", id)
	}
	im, ok := rootOf(s.Manifest)
	if !ok {
		return fmt.Errorf("internal error: slot %v has no image %q", id, rootImage)
	}
	p, err := u.dev.partitionOf(id)
	if err != nil {
		return err
	}
	return u.dev.mount(u.dev.nodes[p.Number].path, im.Filesystem, readOnly, do)
}

// Preserving reports what arming the slot that is not running does about the
// configuration.
func (u *Updater) Preserving() Preserved { return u.preserving(u.facts.Target()) }

func (u *Updater) preserving(id slot.ID) Preserved {
	switch s := u.facts.Slot(id); {
	case !u.dev.Live:
		return PreserveNone
	case s.Record != nil && s.Record.NoPreserve:
		return PreserveSkipped
	}
	return PreserveDone
}

// addArgs adds to the kernel arguments those that are not there yet.
func addArgs(have, more string) string {
	words := strings.Fields(have)
	for _, word := range strings.Fields(more) {
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// forgetRestore removes the journal of the restore that made the running slot:
// a committed system lives its own life from now on. A failure costs nothing
// but a little room, and the restore after the next tells by other marks.
func (u *Updater) forgetRestore() {
	if !u.dev.Live {
		return
	}
	root, err := os.OpenRoot("/")
	if err == nil {
		err = errors.Join(preserve.Forget(root), root.Close())
	}
	if err != nil {
		u.o.Notice("%v", err)
	}
}
