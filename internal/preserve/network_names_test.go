package preserve

import (
	"slices"
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

func TestLiveLinks(t *testing.T) {
	trees, _ := parseFixture(t, machine)
	got := liveLinks(trees["live"])
	want := []Link{
		{Name: "eth0", MAC: "52:54:00:00:00:01", Driver: "virtio_net"},
		{Name: "eth1", MAC: "52:54:00:00:00:02"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if links := liveLinks(newMemTree()); links != nil {
		t.Errorf("a tree without /sys has %v", links)
	}
}

// TestPolicyLinks: a caller without a /sys brings the interfaces along.
func TestPolicyLinks(t *testing.T) {
	f := parseNetFixture(t, "x\nold el7-scripts\nnew el9\n-- old/"+ifcfgDir+"/ifcfg-ens7 --\nDEVICE=ens7\nBOOTPROTO=dhcp\n")
	p := newPlanner(f.old, f.new, &Policy{Links: []Link{{Name: "ens7", MAC: "52:54:00:00:00:07"}}})
	if err := (network{}).Plan(f.old, f.new, p); err != nil {
		t.Fatal(err)
	}
	if p.ops["etc/systemd/network/10-abupdate-ens7.link"] == nil {
		t.Errorf("the name is not kept: %v", p.plan.Notes)
	}
}

func TestUdevRules(t *testing.T) {
	files := netFiles{"etc/udev/rules.d/70-persistent-net.rules": {readable: true, content: []byte(
		"# c\n\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0C:29:11:22:33\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", NAME:=\"lan\"\n")}}
	n, err := readNames(files, nil)
	if err != nil || n.macOf("lan") != "00:0c:29:11:22:33" || n.nameOf("00:0c:29:11:22:33") != "lan" {
		t.Errorf("%v, %v", n, err)
	}
	for _, bad := range []string{
		`PROGRAM=="/bin/x", NAME="a"`, `RUN+="x"`, `IMPORT{program}="x"`, `NAME="a" RUN="b"`, `GOTO="x"`, `NAME="%c"; reboot`, `ENV{x}="y"`, `TEST=="x"`,
	} {
		files["etc/udev/rules.d/70-persistent-net.rules"] = netFile{readable: true, content: []byte(bad + "\n")}
		if _, err := readNames(files, nil); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
