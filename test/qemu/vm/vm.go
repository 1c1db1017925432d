// Package vm runs virtual machines for the suites and the demo: QEMU in
// software emulation, driven over its serial lines and QMP.
//
// Invariant: a Machine ends no process but its own QEMU, and that one always,
// even when the test binary is killed. Start with Start.
package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config describes a machine.
type Config struct {
	// Firmware starts the boot loader.
	Firmware Firmware
	// Disks appear as vda, vdb, … in this order.
	Disks []Disk
	// MemoryMiB is 512 if zero.
	MemoryMiB int
	// Forward lists TCP ports of the guest that Address makes reachable.
	// The guest reaches a server on the host's loopback at HostAddress.
	Forward []int
	// Guests are the addresses at which the guest may be found, besides
	// GuestAddress: each gets its own way to each port, see AddressAt.
	Guests []string
	// Variables names the file with UEFI's variables, which is made when it is
	// missing; empty: the machine has its own, and they end with it.
	Variables string
	// LogDir receives serial0.log, serial1.log and qemu.log.
	LogDir string
	// Args are further arguments of QEMU, such as a watchdog device.
	Args []string
}

const (
	// HostAddress is where a guest finds the host's 127.0.0.1.
	HostAddress = "10.0.2.2"
	// GuestAddress is the guest's own, if nobody says anything else.
	GuestAddress = "10.0.2.15"
)

// Machine is a running virtual machine.
type Machine struct {
	// Console is the first serial line: boot loader, kernel, a person's shell.
	Console *Console
	// Control is the shell for programs on the second serial line.
	Control *Control
	qmp     *qmp
	dir     string // sockets, firmware variables
	exited  chan struct{}
	exitErr error // valid once exited is closed
	process *os.Process
}

// Start starts a machine with its power on. When ctx ends, it ends too.
func Start(ctx context.Context, c Config) (_ *Machine, err error) {
	// A short path: a Unix socket's name has room for 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "abvm-")
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			m.Close()
			err = fmt.Errorf("starting a virtual machine: %w%s", err, qemuWords(c.LogDir))
		}
	}()
	if err := os.MkdirAll(c.LogDir, 0o755); err != nil {
		return m, err
	}
	args, err := c.arguments(dir)
	if err != nil {
		return m, err
	}
	// QEMU connects to our sockets, not we to its: so no output is lost.
	var listeners [3]net.Listener
	for i, name := range [...]string{"serial0", "serial1", "qmp"} {
		if listeners[i], err = net.Listen("unix", filepath.Join(dir, name)); err != nil {
			return m, err
		}
		defer listeners[i].Close()
	}
	if err := m.run(ctx, args, filepath.Join(c.LogDir, "qemu.log")); err != nil {
		return m, err
	}
	var conns [3]net.Conn
	for i, l := range listeners {
		if conns[i], err = m.accept(l); err != nil {
			return m, err
		}
	}
	if m.Console, err = newConsole(conns[0], filepath.Join(c.LogDir, "serial0.log")); err != nil {
		return m, err
	}
	line, err := newConsole(conns[1], filepath.Join(c.LogDir, "serial1.log"))
	if err != nil {
		return m, err
	}
	m.Control = &Control{line: line}
	m.qmp, err = newQMP(conns[2])
	return m, err
}

// run starts QEMU. It dies with the goroutine's thread (Pdeathsig), so the
// thread is locked until QEMU has ended: no QEMU outlives the test binary.
func (m *Machine) run(ctx context.Context, args []string, logFile string) error {
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	fmt.Fprintf(log, "%s\n", strings.Join(cmd.Args, " "))
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(m.exited)
		defer log.Close()
		err := cmd.Start()
		m.process = cmd.Process
		started <- err
		if err == nil {
			m.exitErr = cmd.Wait()
		}
	}()
	err = <-started
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w (apt-get install qemu-system-x86)", err)
	}
	return err
}

// accept waits for QEMU to connect; a QEMU that ends instead has refused its
// arguments.
func (m *Machine) accept(l net.Listener) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		got <- result{conn, err}
	}()
	select {
	case r := <-got:
		return r.conn, r.err
	case <-m.exited:
		return nil, fmt.Errorf("qemu has ended: %w", m.exitErr)
	case <-time.After(30 * time.Second):
		return nil, errors.New("qemu has opened no serial line for 30 s")
	}
}

// qemuWords returns what QEMU wrote after its command line, for the error of a
// failed start.
func qemuWords(logDir string) string {
	text, err := os.ReadFile(filepath.Join(logDir, "qemu.log"))
	if err != nil {
		return ""
	}
	_, words, _ := strings.Cut(string(text), "\n")
	if words = strings.TrimSpace(words); words != "" {
		words = "\n" + words
	}
	return words
}

// Reset pushes the reset button: no shutdown, no flush.
func (m *Machine) Reset(ctx context.Context) error {
	_, err := m.qmp.execute(ctx, "system_reset", nil)
	return err
}

// Press presses a key of the machine's keyboard, in QEMU's words: esc, ctrl-c.
func (m *Machine) Press(ctx context.Context, key string) error {
	_, err := m.qmp.execute(ctx, "human-monitor-command", map[string]string{"command-line": "sendkey " + key})
	return err
}

// Address returns the host's address of a forwarded port of GuestAddress.
func (m *Machine) Address(ctx context.Context, guestPort int) (string, error) {
	return m.AddressAt(ctx, GuestAddress, guestPort)
}

// AddressAt returns the host's address of a forwarded port of the guest that
// has, or has not, the address guest.
func (m *Machine) AddressAt(ctx context.Context, guest string, guestPort int) (string, error) {
	out, err := m.qmp.execute(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"})
	if err != nil {
		return "", err
	}
	// TCP[HOST_FORWARD]  13  127.0.0.1  34567  10.0.2.15  22  0  0
	text, _ := out.(string)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[0] == "TCP[HOST_FORWARD]" && f[4] == guest && f[5] == strconv.Itoa(guestPort) {
			return net.JoinHostPort(f[2], f[3]), nil
		}
	}
	return "", fmt.Errorf("port %d of guest %s is not forwarded", guestPort, guest)
}

// Wait waits until QEMU ends, as after a poweroff in the guest.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.exited:
		return m.exitErr
	case <-ctx.Done():
		return fmt.Errorf("waiting for the machine to power off: %w", ctx.Err())
	}
}

// Close pulls the plug and waits until QEMU is gone. It may be called twice.
func (m *Machine) Close() error {
	if m.process != nil {
		// SIGKILL, to our own child that has not been waited for yet or is
		// known to be gone: never to a recycled number.
		_ = m.process.Kill()
		<-m.exited
	}
	if m.Console != nil {
		m.Console.close()
	}
	if m.Control != nil {
		m.Control.line.close()
	}
	if m.qmp != nil {
		m.qmp.conn.Close()
	}
	return os.RemoveAll(m.dir)
}
