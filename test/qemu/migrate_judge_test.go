//go:build qemu

package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/abupdate/abupdate/images/oldsystem"
)

// reachableAsBefore proves what a migration promises to keep: the address and
// the host key (or ssh would not come through), each login, DNS and names.
func (m *migration) reachableAsBefore() {
	m.t.Helper()
	m.on("true") // sshd is there
	for _, l := range allLogins {
		out, code := m.login(l, "id -un; id -u")
		uid := map[string]string{"root": "0", oldsystem.Admin: "1000", oldsystem.Operator: "1001"}[l.user]
		if want := l.user + "\n" + uid + "\n"; code != 0 || out != want {
			m.t.Errorf("login %+v: %d, %q, want %q; the device has\n%s", l, code, out, want,
				m.on("sshd -T | grep -iE 'permitroot|passwordauth|usepam|authorizedkeysfile'; grep -E '^(root|admin|service):' /etc/passwd /etc/shadow; ls -l /etc/ssh/sshd_config.d /home; cat /etc/ssh/sshd_config"))
		}
	}
	// In one session: each costs an emulated machine seconds.
	kept := []struct{ command, want string }{
		{"hostname", oldsystem.Hostname},
		{"cat /etc/hostname", oldsystem.Hostname},
		{"grep ^nameserver /etc/resolv.conf", "nameserver " + oldsystem.Resolver},
		{"grep ^search /etc/resolv.conf", "search customer.example"},
		{"grep scada /etc/hosts", "192.0.2.40 scada.customer.example"},
		{"readlink /etc/localtime", "../usr/share/zoneinfo/" + oldsystem.Zone},
		{"cat /etc/machine-id", "0123456789abcdef0123456789abcdef"},
		{"ip -o -4 addr show eth0 | awk '{print $4}'", oldsystem.Address + "/24"},
		{"ip route show default | awk '{print $3}'", "10.0.2.2"},
		{"grep IPADDR /etc/sysconfig/network-scripts/ifcfg-eth0", "IPADDR=" + oldsystem.Address},
	}
	var script strings.Builder
	for _, k := range kept {
		fmt.Fprintf(&script, "{ %s; } 2>&1; echo ==; ", k.command)
	}
	answers := strings.Split(m.on(script.String()), "==\n")
	for i, k := range kept {
		if got := strings.TrimSpace(answers[i]); got != k.want {
			m.t.Errorf("%s: %q, want %q", k.command, got, k.want)
		}
	}
}

// login is try for a login that may be refused: that is not the end of the test.
func (m *migration) login(l login, command string) (string, int) {
	m.t.Helper()
	out, code, err := m.ssh(m.t.Context(), l, command)
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out), code
	}
	return out, code
}

// A manifest lists every file of a tree with mode, owner and content.
type manifest []string

// manifestOf lists files below a directory of the device, in a form in which
// the directory's own place does not count.
func (m *migration) manifestOf(dir, find string) manifest {
	m.t.Helper()
	const each = `-printf '%y %m %U:%G %s %P %l\n'`
	out := m.on(fmt.Sprintf(`cd %s && { find . -mindepth 1 %s ! -type d %s | sort -k5; find . -mindepth 1 %s -type f -print0 | sort -z | xargs -0r md5sum; }`, dir, find, each, find))
	return slices.Collect(strings.Lines(out))
}

// differences are the lines that only one of two manifests has.
func (a manifest) differences(b manifest) []string {
	var d []string
	for _, pair := range []struct {
		sign       string
		from, less manifest
	}{{"-", a, b}, {"+", b, a}} {
		have := make(map[string]bool, len(pair.less))
		for _, line := range pair.less {
			have[line] = true
		}
		for _, line := range pair.from {
			if !have[line] {
				d = append(d, pair.sign+strings.TrimSpace(line))
			}
		}
	}
	return d
}

// oldFiles are all files of the old system but those that change with each
// boot and those of abupdate: logs, the state of systemd and of logins, and
// temporary files.
func (m *migration) oldFiles() manifest {
	m.t.Helper()
	var all manifest
	const without = `-xdev ! -path './var/log/*' ! -path './var/lib/systemd/*' ! -path './var/tmp/*' ! -path './tmp/*' ! -path './run/*' ! -path './var/lib/abupdate/*' ! -path './EFI/abupdate/*'`
	for _, dir := range m.layout.Mounts() {
		for _, line := range m.manifestOf(dir, without) {
			all = append(all, dir+": "+line)
		}
	}
	return all
}

// unchanged fails unless the old system's files are as they were.
func (m *migration) unchanged(before manifest) {
	m.t.Helper()
	if d := before.differences(m.oldFiles()); len(d) > 0 {
		m.t.Errorf("files of the old system have changed:\n%s", strings.Join(d[:min(len(d), 40)], "\n"))
	}
}

// slotState is the part of `status --json` that the tests judge.
func (m *migration) status() (s gatewayStatus) {
	m.t.Helper()
	out := m.on("abupdate status --json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		m.t.Fatalf("abupdate status --json: %v\n%s", err, out)
	}
	return s
}

// committed waits until the health service has committed the running slot.
func (m *migration) committed(slot string) {
	m.t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(2 * time.Second) {
		s := m.status()
		if s.Committed && s.Booted == slot {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("slot %s was not committed: %+v\n%s", slot, s, m.on("journalctl -b -u abupdate-health --no-pager"))
		}
	}
}

// powerOff shuts the device down in good order.
func (m *migration) powerOff() {
	m.t.Helper()
	m.on("systemd-run --no-block systemctl poweroff")
	m.must(m.machine.Wait(m.t.Context()))
}

// partitionsNow are those of the disk, as sfdisk tells them.
type sfdiskPart struct {
	Node        string
	Start, Size int64 // sectors
}

// judgeDisk lets the programs of others look at the disk of a device that is
// off: the table, and each file system.
func (m *migration) judgeDisk() {
	m.t.Helper()
	m.tool("sfdisk", "--verify", m.disk)
	if m.layout.GPT() {
		if out := m.tool("sgdisk", "-v", m.disk); !strings.Contains(out, "No problems found") {
			m.t.Errorf("sgdisk -v:\n%s", out)
		}
	}
	var dump struct {
		PartitionTable struct{ Partitions []sfdiskPart }
	}
	m.must(json.Unmarshal([]byte(m.tool("sfdisk", "-J", m.disk)), &dump))
	for _, p := range dump.PartitionTable.Partitions {
		m.judgeFilesystem(p)
	}
}

func (m *migration) judgeFilesystem(p sfdiskPart) {
	m.t.Helper()
	dev := strings.TrimSpace(m.tool("losetup", "--show", "-r", "-f", "-o", fmt.Sprint(p.Start*512), "--sizelimit", fmt.Sprint(p.Size*512), m.disk))
	defer m.tool("losetup", "-d", dev)
	out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "TYPE", dev).Output()
	kind := strings.TrimSpace(string(out))
	if err != nil && kind == "" {
		kind = "nothing"
	}
	m.t.Logf("%s at sector %d, %d MiB: %s", p.Node, p.Start, p.Size>>11, kind)
	switch kind {
	case "ext4":
		m.tool("e2fsck", "-fn", dev)
	case "xfs":
		m.tool("xfs_repair", "-n", dev)
	case "vfat":
		m.tool("fsck.fat", "-n", dev)
	}
}

// tool runs a program of the build host, which must agree.
func (m *migration) tool(name string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
