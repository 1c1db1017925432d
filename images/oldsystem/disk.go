package oldsystem

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/images/debian"
)

// disk is a disk image under construction.
type disk struct {
	Layout
	path string
	root string // where its file systems are mounted

	mounted []string // mount points, in order
	loops   []string
}

// partition makes the image and its table.
func (d *disk) partition(ctx context.Context) error {
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(d.size*mib), f.Close()); err != nil {
		return err
	}
	if err := debian.Run(ctx, d.table, "sfdisk", "-q", d.path); err != nil || d.group == nil {
		return err
	}
	return d.makeGroup(ctx)
}

// makeGroup makes the group and its volumes. Without device-mapper nobody can
// open a logical volume, so where LVM has put them must be where they are
// expected.
func (d *disk) makeGroup(ctx context.Context) error {
	dev, err := d.loop(ctx, d.group.at, d.group.size)
	if err != nil {
		return err
	}
	defer d.detach(ctx)
	if _, err := lvm(ctx, dev, "vgcreate", d.group.name, dev); err != nil {
		return err
	}
	for _, v := range d.volumes {
		if v.lv == "" {
			continue
		}
		if _, err := lvm(ctx, dev, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-n", v.lv, "-L", fmt.Sprintf("%dm", v.size), d.group.name); err != nil {
			return err
		}
		out, err := lvm(ctx, dev, "lvs", "--noheadings", "-o", "seg_pe_ranges", d.group.name+"/"+v.lv)
		if err != nil {
			return err
		}
		first := (v.at - d.group.at - peStart) / extent
		want := fmt.Sprintf("%s:%d-%d", dev, first, first+v.size/extent-1)
		if strings.TrimSpace(out) != want {
			return fmt.Errorf("LVM has put %s at %q, want %q", v.lv, strings.TrimSpace(out), want)
		}
	}
	return nil
}

// lvm runs an LVM command that sees one device only.
func lvm(ctx context.Context, dev string, args ...string) (string, error) {
	config := fmt.Sprintf(`devices { global_filter=["a|^%s$|","r|.*|"] use_devicesfile=0 } backup { backup=0 archive=0 }`, dev)
	words := append([]string{args[0], "--driverloaded", "n", "--config", config}, args[1:]...)
	cmd := exec.CommandContext(ctx, "lvm", words...)
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("lvm %s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// loop opens a part of the disk, in MiB, as a loop device.
func (d *disk) loop(ctx context.Context, at, size int64) (string, error) {
	cmd := exec.CommandContext(ctx, "losetup", "--show", "-f", "-o", fmt.Sprint(at*mib), "--sizelimit", fmt.Sprint(size*mib), d.path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("losetup: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	dev := strings.TrimSpace(string(out))
	d.loops = append(d.loops, dev)
	return dev, nil
}

// detach gives back the loop device that was opened last.
func (d *disk) detach(ctx context.Context) error {
	last := len(d.loops) - 1
	dev := d.loops[last]
	d.loops = d.loops[:last]
	return debian.Run(ctx, "", "losetup", "-d", dev)
}

// format makes the file systems.
func (d *disk) format(ctx context.Context) error {
	for _, v := range d.volumes {
		dev, err := d.loop(ctx, v.at, v.size)
		if err != nil {
			return err
		}
		make := slices.Clone(mkfs[v.fs])
		switch {
		case strings.HasPrefix(v.fs, "xfs"):
			make = append(make, "-m", "uuid="+d.uuid(v))
		case v.fs != "fat":
			make = append(make, "-U", d.uuid(v))
		}
		if err := errors.Join(debian.Run(ctx, "", make[0], append(make[1:], dev)...), d.detach(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// mount mounts the file systems as the system itself does.
func (d *disk) mount(ctx context.Context) error {
	order := slices.Clone(d.volumes)
	slices.SortFunc(order, func(a, b volume) int { return cmp.Compare(a.mount, b.mount) })
	for _, v := range order {
		if v.mount == "swap" {
			continue
		}
		at := filepath.Join(d.root, v.mount)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if v.fs == "fat" {
			continue // mtools fills it: not every build host can mount it
		}
		dev, err := d.loop(ctx, v.at, v.size)
		if err != nil {
			return err
		}
		if err := debian.Run(ctx, "", "mount", dev, at); err != nil {
			return err
		}
		d.mounted = append(d.mounted, at)
	}
	return nil
}

// release unmounts everything, whatever came before, and keeps going: a mount
// that stays would be in the way of the next run.
func (d *disk) release(_ context.Context) error {
	ctx := context.Background() // the caller's may have ended
	var errs []error
	for _, at := range slices.Backward(d.mounted) {
		errs = append(errs, debian.Run(ctx, "", "umount", at))
	}
	d.mounted = nil
	for len(d.loops) > 0 {
		errs = append(errs, d.detach(ctx))
	}
	return errors.Join(errs...)
}
