//go:build qemu

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/images/oldsystem"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// smallHome and smallData are MiB: what the quick tests have in /home.
const (
	smallHome = 400
	smallData = 40
)

// A migration is a device with a single system, and an administrator who
// knows its address, its host key and its logins.
type migration struct {
	t       *testing.T
	layout  oldsystem.Layout
	vendor  *migrateVendor
	disk    string
	machine *vm.Machine
	known   string // the administrator's known_hosts
	// variables is the file of UEFI's, if it is to be kept.
	variables string
	askpass   string
	// second is another disk, which is none of the migration's business.
	second string
}

// newMigration makes the device; its power is off.
func newMigration(t *testing.T, layout string) *migration {
	t.Helper()
	return newMigrationOn(t, layout, 0, smallHome, smallData)
}

// newMigrationOn makes one with more room in its root file system, and a home
// with data in it; all in MiB.
func newMigrationOn(t *testing.T, layout string, more, home, data int64) *migration {
	t.Helper()
	turn(t)
	m := &migration{t: t, disk: filepath.Join(t.TempDir(), "device.img")}
	var err error
	m.vendor, err = theMigrateVendor()
	m.must(err)
	m.layout, err = oldsystem.ByName(layout, home, more)
	m.must(err)
	base, err := m.vendor.oldDisk(t.Context(), m.layout, data<<20)
	m.must(err)
	m.must(vm.CopyDisk(m.disk, base))
	m.known = filepath.Join(t.TempDir(), "known_hosts")
	m.askpass = filepath.Join(t.TempDir(), "askpass")
	m.must(os.WriteFile(m.askpass, []byte("#!/bin/sh\necho '"+oldsystem.Password+"'\n"), 0o700))
	return m
}

func (m *migration) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// powerOn switches the machine on.
func (m *migration) powerOn(disk vm.Disk, args ...string) {
	m.t.Helper()
	fw := vm.BIOS
	if m.layout.UEFI {
		fw = vm.UEFI
	}
	disk.Path = m.disk
	disks := []vm.Disk{disk}
	if m.second != "" {
		disks = append(disks, vm.Disk{Path: m.second})
	}
	var err error
	m.machine, err = vm.Start(m.t.Context(), vm.Config{
		Firmware: fw, Disks: disks, Forward: []int{22}, Guests: []string{oldsystem.Address},
		LogDir: logDir(m.t), Args: args, Variables: m.variables,
	})
	m.must(err)
	m.t.Cleanup(func() {
		m.hangUp()
		m.machine.Close()
	})
	m.machine.Console.Never(`grub rescue> |Press any key|Enter username`)
}

// says waits for words on the console: of a machine that starts.
func (m *migration) says(pattern string) []string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Minute)
	defer cancel()
	groups, err := m.machine.Console.Expect(ctx, pattern)
	m.must(err)
	m.hangUp()
	return groups
}

// bootsOld waits for the old system's start; by is the slot that GRUB says it
// is: "none" from its own GRUB.
func (m *migration) bootsOld(by string) {
	m.t.Helper()
	got := m.says(`oldsystem: layout=(\S*) slot=(\S*) root=(\S*)`)
	if got[1] != m.layout.Name || got[2] != by {
		m.t.Fatalf("started layout %s with slot %s, want %s with %s", got[1], got[2], m.layout.Name, by)
	}
}

// bootsNew waits for a new system's start.
func (m *migration) bootsNew(version, slot, why string) {
	m.t.Helper()
	got := m.says(`gateway: version=(\S*) slot=(\S*) why=(\S*) root=(\S*)`)
	if got[1] != version || got[2] != slot || got[3] != why {
		m.t.Fatalf("started version %s from slot %s (%s), want version %s from slot %s (%s)", got[1], got[2], got[3], version, slot, why)
	}
}

// login is how the administrator comes in.
type login struct {
	user     string
	password bool // or else by key
}

var (
	rootKey          = login{user: "root"}
	rootPassword     = login{user: "root", password: true}
	adminPassword    = login{user: oldsystem.Admin, password: true}
	operatorKey      = login{user: oldsystem.Operator}
	allLogins        = []login{rootKey, rootPassword, adminPassword, operatorKey}
	errNotReachable  = errors.New("the device is not reachable")
	sshUnreachable   = 255
	reachableTimeout = 8 * time.Minute
)

// ssh runs a command on the device, with OpenSSH's client, which accepts no
// other host key than the one that it knows. It returns the exit code, too.
func (m *migration) ssh(ctx context.Context, l login, command string) (string, int, error) {
	address, err := m.machine.AddressAt(ctx, oldsystem.Address, 22)
	if err != nil {
		return "", 0, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	check := "yes"
	if _, err := os.Stat(m.known); err != nil {
		check = "accept-new" // the first visit
	}
	args := []string{
		"-F", "/dev/null", "-p", port, "-l", l.user, "-o", "UserKnownHostsFile=" + m.known, "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=" + check, "-o", "HostKeyAlias=" + oldsystem.Address, "-o", "ConnectTimeout=20",
		"-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10", "-o", "LogLevel=ERROR",
		"-o", "HostKeyAlgorithms=ssh-ed25519", "-o", "IdentitiesOnly=yes", "-i", m.vendor.key,
	}
	if l.password {
		args = append(args, "-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1")
	} else {
		args = append(args, "-o", "PreferredAuthentications=publickey", "-o", "BatchMode=yes")
	}
	if l == rootKey {
		args = append(args, "-o", "ControlMaster=auto", "-o", "ControlPath="+m.control(), "-o", "ControlPersist=yes")
	}
	cmd := exec.CommandContext(ctx, "ssh", append(args, host, command)...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+m.askpass, "SSH_ASKPASS_REQUIRE=force", "SSH_AUTH_SOCK=")
	// A file, because the session that stays open keeps a pipe open too.
	said, err := os.CreateTemp(filepath.Dir(m.known), "said")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	err = cmd.Run()
	out, readErr := os.ReadFile(said.Name())
	if readErr != nil {
		return "", 0, readErr
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() == sshUnreachable {
			return string(out), 0, errNotReachable
		}
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// control is the socket of the session that root's commands share: to open one
// costs an emulated machine seconds.
func (m *migration) control() string { return filepath.Join(filepath.Dir(m.known), "control") }

// hangUp ends the shared session, which does not survive a reboot.
func (m *migration) hangUp() {
	if _, err := os.Stat(m.control()); err == nil {
		_ = exec.Command("ssh", "-F", "/dev/null", "-o", "ControlPath="+m.control(), "-O", "exit", "device").Run()
	}
}

// try waits until the device is there, and runs a command on it.
func (m *migration) try(l login, command string) (string, int) {
	m.t.Helper()
	for deadline := time.Now().Add(reachableTimeout); ; time.Sleep(time.Second) {
		out, code, err := m.ssh(m.t.Context(), l, command)
		if err == nil {
			return out, code
		}
		if !errors.Is(err, errNotReachable) || time.Now().After(deadline) || strings.Contains(out, "Permission denied") || strings.Contains(out, "verification failed") {
			m.t.Fatalf("ssh %s@%s (password: %v): %s: %v\n%s", l.user, oldsystem.Address, l.password, command, err, out)
		}
	}
}

// on runs a command as root, which must succeed, and returns what it said.
func (m *migration) on(command string) string {
	m.t.Helper()
	out, code := m.try(rootKey, command)
	if code != 0 {
		m.t.Fatalf("%s: exit code %d\n%s", command, code, out)
	}
	return out
}

// abupdate runs the agent on the device, and expects an exit code.
func (m *migration) abupdate(code int, command string) string {
	m.t.Helper()
	began := time.Now()
	out, got := m.try(rootKey, "abupdate "+command)
	m.t.Logf("abupdate %s: exit code %d after %.0f s\n%s", command, got, time.Since(began).Seconds(), out)
	if got != code {
		m.t.Fatalf("abupdate %s: exit code %d, want %d", command, got, code)
	}
	return out
}

// migratePlan is the part of `migrate plan --json` that the tests judge.
type migratePlan struct {
	Layout   string `json:"layout"`
	Tier     string `json:"tier"`
	Refusals []struct {
		Code   string `json:"code"`
		Reason string `json:"reason"`
	} `json:"refusals"`
	Data struct {
		Mode  string `json:"mode"`
		Trees []struct {
			Path string `json:"path"`
			Fate string `json:"fate"`
		} `json:"trees"`
	} `json:"data"`
	Switch struct {
		BorrowedEntry int `json:"borrowedEntry"`
	} `json:"switch"`
	Unseen []string `json:"unseen"`
}

func (m *migration) plan(source string) (p migratePlan) {
	m.t.Helper()
	out, code := m.try(rootKey, "abupdate --json migrate plan --slot-size 400MiB "+source)
	line, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		m.t.Fatalf("migrate plan: exit code %d, %v\n%s", code, err, out)
	}
	if (code == 0) != (len(p.Refusals) == 0) {
		m.t.Fatalf("migrate plan: exit code %d with refusals %+v", code, p.Refusals)
	}
	return p
}

// fate returns what the plan says of a tree.
func (p migratePlan) fate(path string) string {
	for _, t := range p.Data.Trees {
		if t.Path == path {
			return t.Fate
		}
	}
	return fmt.Sprintf("not in the plan: %+v", p.Data.Trees)
}
