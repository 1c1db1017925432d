//go:build qemu

package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
)

// Damage to a disk whose machine is off, done the way it happens: through the
// file system, behind the back of abupdate.

// slotPart returns the partition number of a slot's system.
func (d *device) slotPart(sys bootctl.System) int {
	if sys == bootctl.SystemB {
		return d.layout.BPart
	}
	return d.layout.APart
}

// debugfs runs commands of e2fsprogs' debugfs on a partition.
func (d *device) debugfs(part int, commands ...string) {
	d.t.Helper()
	cmd := exec.Command("debugfs", "-w", "-f", "-", fmt.Sprintf("%s?offset=%d", d.disk, d.parts[part]))
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	d.must(err)
	// debugfs reports errors of commands in its output only: NAME: message.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "not found") || strings.Contains(line, "Unknown") || strings.Contains(line, "while") || strings.Contains(line, "Couldn't") {
			d.t.Fatalf("debugfs: %s", out)
		}
	}
	d.look()
}

// vmlinuz and initramfs are what a slot must have.
const (
	vmlinuz   = "/boot/vmlinuz"
	initramfs = "/boot/initramfs"
)

// remove deletes a file of a slot; the model learns that it is incomplete.
func (d *device) remove(sys bootctl.System, path string) {
	d.t.Helper()
	d.debugfs(d.slotPart(sys), "rm "+path)
	d.files[sys] = bootmodel.Missing
}

// unreadable breaks the extent tree of a slot's file: it is there, it has a
// size, and reading it fails.
func (d *device) unreadable(sys bootctl.System, path string) {
	d.t.Helper()
	d.debugfs(d.slotPart(sys), "sif "+path+" block[0] 0")
	d.files[sys] = bootmodel.BadKernel
	if path == initramfs {
		d.files[sys] = bootmodel.BadInitramfs
	}
}

// resize gives a slot's file another size, without content.
func (d *device) resize(sys bootctl.System, path string, size int64) {
	d.t.Helper()
	d.debugfs(d.slotPart(sys), fmt.Sprintf("sif %s size %d", path, size))
}

// read returns a file of a slot.
func (d *device) read(sys bootctl.System, path string) []byte {
	d.t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+path, fmt.Sprintf("%s?offset=%d", d.disk, d.parts[d.slotPart(sys)])).Output()
	d.must(err)
	return out
}

// restore puts a file back that remove has deleted.
func (d *device) restore(sys bootctl.System, path string, content []byte) {
	d.t.Helper()
	source := filepath.Join(d.t.TempDir(), "content")
	d.must(os.WriteFile(source, content, 0o600))
	d.debugfs(d.slotPart(sys), "write "+source+" "+path)
	d.files[sys] = bootmodel.Loadable
}

// replace puts other content into a slot's file.
func (d *device) replace(sys bootctl.System, path string, content []byte) {
	d.t.Helper()
	source := filepath.Join(d.t.TempDir(), "content")
	d.must(os.WriteFile(source, content, 0o600))
	d.debugfs(d.slotPart(sys), "rm "+path, "write "+source+" "+path)
}

// variant changes how the system in a slot behaves.
func (d *device) variant(sys bootctl.System, v tiny.Variant) {
	d.t.Helper()
	d.replace(sys, tiny.VariantFile, []byte(v.String()+"\n"))
}

// hide makes GRUB find no boot state at copy i, without touching its sectors.
func (d *device) hide(i int, commands ...string) {
	d.t.Helper()
	d.shadow.blind = append(d.shadow.blind, d.layout.Env[i])
	d.debugfs(d.layout.BootPart, commands...)
}
