//go:build qemu

package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// versions are what the slots hold when they boot.
var versions = map[bootctl.System]string{bootctl.SystemA: "1.0.0", bootctl.SystemB: "2.0.0"}

// systemFiles are files that a system keeps all its life.
var systemFiles = []string{"/bin/busybox", "/usr/bin/abupdate", "/etc/os-release", "/usr/lib/tiny/rc", tiny.VariantFile}

// checkSlot looks into the slot of a system that boots. GRUB, which replays no
// journal, must find the image's kernel and initramfs; the kernel, which does,
// a sound file system with the image's files and the configuration.
func (r *replay) checkSlot(disk string, sys bootctl.System) error {
	table := "gpt"
	if r.fw == vm.BIOS {
		table = "msdos"
	}
	for _, path := range []string{vmlinuz, initramfs} {
		if err := r.sameFile(disk, fmt.Sprintf("(loop0,%s%d)%s", table, r.slotPart(sys), path), sys, path); err != nil {
			return fmt.Errorf("as GRUB sees it: %w", err)
		}
	}
	dir, err := os.MkdirTemp(r.dir, "slot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	slot := filepath.Join(dir, "slot.img")
	part := r.slotPart(sys)
	if out, err := exec.Command("dd", "if="+disk, "of="+slot, "bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes",
		fmt.Sprintf("skip=%d", r.parts[part]), fmt.Sprintf("count=%d", r.sizes[part])).CombinedOutput(); err != nil {
		return fmt.Errorf("dd: %w: %s", err, out)
	}
	if err := replayJournal(r.factory.Filesystem, slot); err != nil {
		return err
	}
	for _, path := range systemFiles {
		if err := r.sameFile(slot, "(loop0)"+path, sys, path); err != nil {
			return err
		}
	}
	if sys == bootctl.SystemA {
		return nil // it was configured while it ran: the kernel's business
	}
	return holds(slot, r.set)
}

// replayJournal does what the kernel does when it mounts a slot after a power
// cut, and fails unless the file system is sound then.
//
// A dirty log of XFS is replayed by nothing but the kernel: such a slot is
// judged as it is, and by the samples that are booted.
func replayJournal(f tiny.Filesystem, slot string) error {
	if f == tiny.XFS {
		log, err := exec.Command("xfs_logprint", "-t", slot).CombinedOutput()
		if err != nil {
			return fmt.Errorf("xfs_logprint: %w: %s", err, log)
		}
		if bytes.Contains(log, []byte("<DIRTY>")) {
			return nil
		}
		if out, err := exec.Command("xfs_repair", "-n", slot).CombinedOutput(); err != nil {
			return fmt.Errorf("xfs_repair -n: %w: %s", err, out)
		}
		return nil
	}
	// 1: the journal was replayed. What a mount would not cope with is 4 or more.
	out, err := exec.Command("e2fsck", "-fp", slot).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		return fmt.Errorf("e2fsck -fp: %w: %s", err, out)
	}
	return nil
}

// sameFile compares a file, read by GRUB's own drivers, with the image's.
func (r *replay) sameFile(disk, name string, sys bootctl.System, path string) error {
	want, err := r.imageFile(versions[sys], path)
	if err != nil {
		return err
	}
	if out, err := exec.Command("grub-fstest", disk, "cmp", name, want).CombinedOutput(); err != nil || len(out) > 0 {
		return fmt.Errorf("%s is not the one of version %s: %w: %s", path, versions[sys], err, out)
	}
	return nil
}

// imageFile returns a file with the content that a version's image has at path.
func (r *replay) imageFile(version, path string) (string, error) {
	image, err := r.factory.Image(r.t.Context(), version, tiny.Undecided)
	if err != nil {
		return "", err
	}
	name := image + strings.ReplaceAll(path, "/", "-")
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if out, err := exec.Command("grub-fstest", image, "cp", "(loop0)"+path, name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("grub-fstest: %w: %s", err, out)
	}
	return name, nil
}

// finish lets the agent do the same job again on a copy of the disk: it ends
// with the new version, committed, whatever the cut has left.
func (r *replay) finish(disk *os.File, c logwrites.Cut) {
	r.t.Helper()
	path := filepath.Join(r.dir, "finished.img")
	r.must(vm.CopyDisk(path, disk.Name()))
	defer os.Remove(path)
	bundle, err := r.factory.Bundle(r.t.Context(), "2.0.0", tiny.Undecided)
	r.must(err)
	run := func(codes []int, args ...string) string {
		cmd := exec.Command(r.factory.Agent, append([]string{"--disk", path}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			r.t.Fatal(err)
		}
		if !slices.Contains(codes, cmd.ProcessState.ExitCode()) {
			r.t.Errorf("%v: abupdate %v: %v\n%s", c, args, err, out)
		}
		return string(out)
	}
	// 3: there is nothing to commit, or the version runs already.
	run([]int{0, 3}, "commit")
	run([]int{0, 3}, "apply", bundle)
	run([]int{0, 3}, "commit")
	var s status
	r.must(json.Unmarshal([]byte(run([]int{0}, "--json", "status")), &s))
	if v := s.Slots[s.Booted].Version; v != "2.0.0" || !s.Committed {
		r.t.Errorf("%v: the same update again ends with version %s, committed: %v", c, v, s.Committed)
	}
	r.finished++
}
