package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/abupdate/abupdate/internal/devmapper"
	"github.com/abupdate/abupdate/internal/partition"
)

// Carry implements FinishMachine: the old system is mounted read-only once
// more, and the volume that stays read-write.
func (d *LiveDisk) Carry(j *Journal, complete func() error) error {
	others, kept, err := j.apart()
	if err != nil {
		return err
	}
	parts, err := d.parts()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "abupdate-old-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(dir, "old")) // fails on what is still mounted, and then stays
	defer os.Remove(dir)
	m := &Migrator{Disk: d.disk, Kernel: &partKernel{Linux: Linux{d.node}, parts: parts, keep: j}, Dir: dir, Log: NewLog(io.Discard), journal: others}
	ctx := context.Background()
	return m.withOld(func(old *oldSystem) error {
		bring := func(root *os.Root) error {
			return carry(ctx, old.root, root, j, complete, func(int64) {})
		}
		if at, err := d.mountOf(parts, j.Data); err != nil || at != "" {
			if err != nil {
				return err
			}
			root, err := os.OpenRoot(at)
			if err != nil {
				return err
			}
			return errors.Join(bring(root), root.Close())
		}
		return m.withMounted("abkept", j.Data, oldFilesystems[kept.Filesystem], bring)
	})
}

// mountOf returns where the partition of a region is mounted, "" if it is not.
func (d *LiveDisk) mountOf(parts []kernelPart, r Region) (string, error) {
	devices := map[string]string{}
	for _, p := range parts {
		if p.start == r.Start {
			if err := d.below(p.name, devices); err != nil {
				return "", err
			}
		}
	}
	mounts, err := d.mountPoints(devices)
	if at := slices.Sorted(maps.Keys(mounts)); len(at) > 0 {
		return at[0], err
	}
	return "", err
}

// partKernel maps through partitions: as long as slot a is mounted by its own,
// the kernel lets nobody have the disk as a whole.
type partKernel struct {
	Linux
	parts []kernelPart
	keep  *Journal
}

// Map implements Kernel.
func (k *partKernel) Map(name string, m partition.DeviceMap, readOnly bool) (string, error) {
	for _, p := range k.parts {
		inside := func(r partition.Run) bool { return r.Disk >= p.start && r.DiskEnd() <= p.start+p.size }
		if p.number == k.keep.ANumber || p.number == k.keep.BootNumber || slices.ContainsFunc(m, func(r partition.Run) bool { return !inside(r) }) {
			continue
		}
		segments := make([]devmapper.Segment, len(m))
		for i, r := range m {
			segments[i] = devmapper.Segment{Start: (r.Disk - p.start) / sector, Length: r.Len / sector}
		}
		return devmapper.Create(name, "/dev/"+p.name, segments, readOnly)
	}
	return "", fmt.Errorf("mapping %s: it lies in no single partition that the kernel knows", name)
}
