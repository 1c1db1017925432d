//go:build qemu

package qemu

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// customerSet are the files that the customer has when the device shuts down,
// and that the new system must have, all or none: accounts, a key, names, and
// so many of his own that the restore takes a good many writes.
func customerSet() map[string]string {
	set := map[string]string{
		"/etc/hostname":                         renamed + "\n",
		"/etc/passwd":                           "root:x:0:0:root:/root:/bin/sh\ncarla:x:1000:1000:Carla:/home/carla:/bin/sh\n",
		"/etc/shadow":                           "root:$6$salt$roots:20000:0:99999:7:::\ncarla:$6$salt$carlas:20000:0:99999:7:::\n",
		"/etc/group":                            "root:x:0:\ncarla:x:1000:\n",
		"/etc/hosts":                            "127.0.0.1 localhost\n192.0.2.7 printer\n",
		"/home/carla/.ssh/authorized_keys":      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA carla\n",
		"/etc/abupdate/preserve.d/50-site.toml": "[[path]]\npath = \"/etc/site/**\"\nmissing = \"fail\"\n",
	}
	for i := range 8 {
		var text strings.Builder
		for n := range 1 + i*i*32 {
			fmt.Fprintf(&text, "%d\n", n)
		}
		set[fmt.Sprintf("/etc/site/%02d.conf", i)] = text.String()
	}
	return set
}

// configure makes the set in the guest, and makes it durable there.
func (d *device) configure(set map[string]string) {
	d.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(set)) {
		make := fmt.Sprintf("printf %%s '%s' >%s", strings.ReplaceAll(set[name], "\n", `'"$n"'`), name)
		if strings.HasPrefix(name, "/etc/site/") {
			make = fmt.Sprintf("seq 0 %d >%s", strings.Count(set[name], "\n")-1, name)
		}
		_, code, err := d.machine.Control.Run(d.ctx, `n=$(printf '\nx'); n=${n%x}; mkdir -p `+path.Dir(name)+"; "+make)
		d.must(err)
		if code != 0 {
			d.t.Fatalf("%s: exit code %d", make, code)
		}
	}
	_, _, err := d.machine.Control.Run(d.ctx, "hostname "+renamed+"; chmod 600 /etc/shadow; chown -R 1000:1000 /home/carla; chmod -R go= /home/carla; sync")
	d.must(err)
}

// has checks the set in the running system.
func (d *device) has(set map[string]string) {
	d.t.Helper()
	names := slices.Sorted(maps.Keys(set))
	out, _, err := d.machine.Control.Run(d.ctx, "sha256sum "+strings.Join(names, " "))
	d.must(err)
	var want strings.Builder
	for _, name := range names {
		fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256([]byte(set[name])), name)
	}
	if out != want.String() {
		d.t.Errorf("the configuration is\n%s\nwant\n%s", out, want.String())
	}
}

// holds tells what of the set a slot's image lacks, as GRUB's drivers read it.
func holds(slot string, set map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		got, err := exec.Command("grub-fstest", slot, "cat", "(loop0)"+name).Output()
		if err != nil || string(got) != set[name] {
			return fmt.Errorf("%s, which the customer configured, holds %.80q, want %.80q: %w", name, got, set[name], err)
		}
	}
	return nil
}

// complete tells whether a system's args block is valid: the mark of a slot
// that is whole, without which GRUB does not boot it.
func (d *device) complete(sys bootctl.System) bool {
	d.t.Helper()
	b := make([]byte, bootctl.ArgsSize)
	_, err := d.shadow.ReadAt(b, d.layout.Args[slices.Index(bootctl.Systems[:], sys)].Off)
	d.must(err)
	_, err = bootctl.ParseArgs(b, sys)
	return err == nil
}

// middleOfRestore is the cut in the middle of the writes to slot b between the
// end of the apply and the first write to an args block.
func (r *replay) middleOfRestore() logwrites.Cut {
	r.t.Helper()
	var writes []int
	b := bootctl.Extent{Off: r.parts[r.layout.BPart], Len: r.sizes[r.layout.BPart]}
	for i := r.acks[applied].entries; i < len(r.log.Entries); i++ {
		e := r.log.Entries[i]
		if e.Len > 0 && within([]bootctl.Extent{b}, e.Off) {
			writes = append(writes, i)
		}
		if e.Len > 0 && len(writes) > 0 && within(r.layout.Args[:], e.Off) {
			break
		}
	}
	if len(writes) < 20 {
		r.t.Fatalf("%d writes to slot b: that was no restore", len(writes))
	}
	r.t.Logf("the restore took %d writes to slot b", len(writes))
	return logwrites.Cut{Durable: writes[len(writes)/2]}
}

// restoreGoesOn boots from a disk that lost power in the middle of the restore.
// The old system runs, and its next orderly shutdown restores again.
func (r *replay) restoreGoesOn(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "cut.img")
	r.materialize(t, r.middleOfRestore(), disk)
	s := newDevice(t, r.fw, disk)
	if s.complete(bootctl.SystemB) {
		t.Error("the power went in the middle of the restore, and the slot counts as complete")
	}
	s.start(vm.Disk{})
	s.boots(bootctl.SystemA, bootctl.WhyGood)
	s.up()
	s.leave("reboot")
	s.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
	s.has(r.set)
}
