package preserve

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is the /sys of a machine with two cards in a bond, one of which has
// lost its own address to it, and a bridge.
const machine = `
-- live/sys/class/net/eth0 -> ../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0 --
-- live/sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/address --
52:54:00:00:00:01
-- live/sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/addr_assign_type --
0
-- live/sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/device -> ../../../virtio0 --
-- live/sys/devices/pci0000:00/0000:00:03.0/virtio0/driver -> ../../../../bus/virtio/drivers/virtio_net --
-- live/sys/class/net/eth1 -> ../../devices/pci0000:00/0000:00:04.0/net/eth1 --
-- live/sys/devices/pci0000:00/0000:00:04.0/net/eth1/address --
52:54:00:00:00:01
-- live/sys/devices/pci0000:00/0000:00:04.0/net/eth1/addr_assign_type --
3
-- live/sys/devices/pci0000:00/0000:00:04.0/net/eth1/bonding_slave/perm_hwaddr --
52:54:00:00:00:02
-- live/sys/devices/pci0000:00/0000:00:04.0/net/eth1/device -> ../.. --
-- live/sys/class/net/eth2 -> ../../devices/pci0000:00/0000:00:05.0/net/eth2 --
-- live/sys/devices/pci0000:00/0000:00:05.0/net/eth2/address --
02:00:00:00:00:99
-- live/sys/devices/pci0000:00/0000:00:05.0/net/eth2/addr_assign_type --
3
-- live/sys/devices/pci0000:00/0000:00:05.0/net/eth2/device -> ../.. --
-- live/sys/class/net/br0 -> ../../devices/virtual/net/br0 --
-- live/sys/devices/virtual/net/br0/address --
52:54:00:00:00:01
-- live/sys/devices/virtual/net/br0/addr_assign_type --
3
`

func TestReadHost(t *testing.T) {
	trees, _ := parseFixture(t, machine)
	got := ReadHost(trees["live"])
	want := []Link{{Name: "eth0", MAC: "52:54:00:00:00:01"}, {Name: "eth1", MAC: "52:54:00:00:00:02"}}
	if !slices.Equal(got.Links, want) || got.MachineID != "" {
		t.Errorf("%v, want %v", got, want)
	}
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	for etc, want := range map[string]string{a: a, "uninitialized": b, "": b} {
		trees, _ := parseFixture(t, "-- live/etc/machine-id --\n"+etc+"\n-- live/var/lib/dbus/machine-id --\n"+b+"\n")
		if got := ReadHost(trees["live"]); got.MachineID != want || got.Links != nil {
			t.Errorf("%q: %v, want %s", etc, got, want)
		}
	}
}

// initramfsHost is what the migrator is told of the machine.
var initramfsHost = Host{
	Links:     []Link{{Name: "ens7", MAC: "52:54:00:00:00:07"}},
	MachineID: strings.Repeat("5", 32),
}

// fromInitramfs are an EL7 system whose files name no MAC address, without
// the /sys of the machine, and an EL9 image.
func fromInitramfs(t *testing.T) (old, new Tree) {
	t.Helper()
	f := parseNetFixture(t, "x\nold el7-scripts\nnew el9\n-- old/etc/passwd --\nroot:x:0:0:root:/root:/bin/bash\n-- old/etc/machine-id --\n"+strings.Repeat("a", 32)+"\n-- old/"+ifcfgDir+"/ifcfg-ens7 --\nDEVICE=ens7\nBOOTPROTO=none\nIPADDR=192.0.2.9\nPREFIX=24\n")
	return f.old, f.new
}

// bound checks that a plan has the interface by its address and the machine
// by its id.
func bound(t *testing.T, p *Plan) {
	t.Helper()
	if s := written(t, p, keyfileDir+"/ens7.nmconnection"); !strings.Contains(s, "mac-address=52:54:00:00:00:07") {
		t.Errorf("the profile is not bound to the card:\n%s", s)
	}
	if s := written(t, p, "etc/systemd/network/10-abupdate-ens7.link"); !strings.Contains(s, "52:54:00:00:00:07") {
		t.Errorf("the name is not kept:\n%s", s)
	}
	if s := written(t, p, "etc/machine-id"); s != initramfsHost.MachineID+"\n" {
		t.Errorf("machine id %q", s)
	}
}

// TestHostOfTheCaller: in an initramfs the old root is mounted somewhere, and
// the kernel's /sys is not the old system's business. The caller says what the
// machine is.
func TestHostOfTheCaller(t *testing.T) {
	old, new := fromInitramfs(t)
	policy := Default()
	policy.Host = initramfsHost
	plan, err := NewPlan(context.Background(), old, new, policy)
	if err != nil {
		t.Fatal(err)
	}
	bound(t, plan)
}

// TestHostOfTheArchive: a capture on the running system is enough.
func TestHostOfTheArchive(t *testing.T) {
	old, new := fromInitramfs(t)
	policy := Default()
	policy.Host = initramfsHost
	b := captureWith(t, old, policy)
	archive, err := ReadArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planAll(archive, new)
	if err != nil {
		t.Fatal(err)
	}
	bound(t, plan)
}

// TestHostIsNotThisMachine: a tree of directories without /sys says nothing of
// the machine that the test runs on.
func TestHostIsNotThisMachine(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree, err := SlotTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if h := ReadHost(tree); h.Links != nil || h.MachineID != "" {
		t.Errorf("%v", h)
	}
}

func TestHostOddFacts(t *testing.T) {
	old, new := fromInitramfs(t)
	for _, bad := range []Host{
		{Links: []Link{{Name: "../../x", MAC: "52:54:00:00:00:07"}}},
		{Links: []Link{{Name: "eth0", MAC: "52:54:00:00:00:07\n[x]"}}},
		{Links: []Link{{Name: "eth0", MAC: "52-54-00-00-00-07"}}},
		{Links: make([]Link, maxHostLinks+1)},
		{MachineID: "$(reboot)"},
	} {
		policy := Default()
		policy.Host = bad
		if _, err := NewPlan(context.Background(), old, new, policy); !errors.Is(err, ErrPreserve) {
			t.Errorf("%.80v: %v", bad, err)
		}
	}
	for _, bad := range []string{
		``, `{}`, `{"format":2}`, `{"format":1,"host":{"machineId":"x"}}`, `{"format":1,"host":{"links":[{"name":"a/b","mac":"52:54:00:00:00:07"}]}}`,
	} {
		if _, err := decodeHost([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
