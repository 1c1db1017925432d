package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/preserve"
)

// restore carries the old system's configuration into slot a and returns the
// kernel arguments that it needs. Everything is computed before the first
// write, and a cut on the way leaves a slot without a valid args block, which
// the next turn restores again.
func (m *Migrator) restore(ctx context.Context, old *oldSystem, image bundle.Image) (kernelArgs string, err error) {
	return m.restoreFrom(ctx, preserve.DirTree(old.root), image)
}

func (m *Migrator) restoreFrom(ctx context.Context, old preserve.Tree, image bundle.Image) (kernelArgs string, err error) {
	m.Log.Printf("carrying the configuration into slot a")
	err = m.withSlot(image, func(root *os.Root) error {
		next := preserve.DirTree(root)
		policy, err := m.policy(old, next)
		if err != nil {
			return err
		}
		plan, err := preserve.NewPlan(ctx, old, next, policy)
		if err != nil {
			return err
		}
		for _, n := range plan.Notes {
			if n.Kind == preserve.Warning {
				m.Log.Printf("%s: %s", n.Subject, n.Detail)
			}
		}
		kernelArgs = plan.KernelArgs
		m.Log.Printf("%d files and directories, %d bytes", len(plan.Ops), plan.Size())
		return plan.Apply(ctx, root)
	})
	return kernelArgs, err
}

// policy is that of the two systems, with what the running old one knew about
// its machine: here nothing of it runs.
func (m *Migrator) policy(old, next preserve.Tree) (*preserve.Policy, error) {
	policy, err := preserve.LoadPolicy(old, next)
	if err != nil {
		return nil, err
	}
	for _, l := range m.journal.Links {
		policy.Links = append(policy.Links, preserve.Link(l))
	}
	return policy, nil
}

// withSlot mounts slot a for writing and calls do with its root. When it
// returns nil the file system was unmounted cleanly, so GRUB, which replays no
// journal, reads what was written.
func (m *Migrator) withSlot(image bundle.Image, do func(root *os.Root) error) error {
	return m.withMounted("ab-a", m.journal.A, image.Filesystem, do)
}

// withMounted mounts a region of the disk for writing.
func (m *Migrator) withMounted(name string, r Region, filesystem string, do func(root *os.Root) error) (err error) {
	if filesystem != "ext4" && filesystem != "xfs" {
		return fmt.Errorf("a file system %q cannot be mounted for writing: ext4 and xfs can", filesystem)
	}
	dir := filepath.Join(m.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	node, err := m.Kernel.Map(name, partition.DeviceMap{{Disk: r.Start, Len: r.Size}}, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Kernel.Unmap(name), m.Disk.Sync()) }()
	if err := m.Kernel.Mount(node, dir, filesystem, false); err != nil {
		return fmt.Errorf("mounting %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, m.Kernel.Unmount(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}
