package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/migrate"
)

// mountDir is where the migrator mounts file systems of the disk.
const mountDir = "/run/migrator"

// mountKernelFiles mounts what every program expects of a system. The kernel
// mounts nothing in an initramfs.
func mountKernelFiles() error {
	var errs []error
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mounting %s: %w", m.dir, err))
		}
	}
	return errors.Join(append(errs, os.MkdirAll(mountDir, 0o700))...)
}

// openConsoles returns a writer to all consoles, the screen and the serial
// lines. /dev/console would be the last of them only, and /dev/kmsg drops what
// comes too fast, and all of it where the command line says quiet.
func openConsoles() io.Writer {
	names := []string{"console"}
	if b, err := os.ReadFile("/sys/class/tty/console/active"); err == nil && len(b) > 1 {
		names = strings.Fields(string(b))
	}
	var all consoles
	for _, name := range names {
		// Without O_NOCTTY a terminal would become PID 1's, with its signals;
		// with O_NONBLOCK a line that nobody reads does not hold us up.
		f, err := os.OpenFile(filepath.Join("/dev", name), os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			all = append(all, f)
		}
	}
	return all
}

// consoles writes to each of them, whether the others take it or not.
type consoles []*os.File

func (c consoles) Write(p []byte) (int, error) {
	text := []byte(strings.ReplaceAll(string(p), "\n", "\r\n"))
	for _, f := range c {
		_ = f.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = f.Write(text)
	}
	return len(p), nil
}

// guard feeds the watchdog, if there is one, as long as there is progress, and
// resets the machine when there has been none for too long. It never stops the
// watchdog, which so guards the reboot, too.
func guard(log *migrate.Log) {
	watchdog, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err == nil {
		log.Printf("the hardware watchdog is armed")
	}
	for ; ; time.Sleep(5 * time.Second) {
		if log.Idle() > deadline {
			log.Printf("nothing has happened for %v: reset", deadline)
			hardReset()
		}
		if watchdog != nil {
			_, _ = watchdog.Write([]byte{0})
		}
	}
}

// reboot restarts the machine, and does not return.
func reboot(log *migrate.Log) {
	log.Printf("reboot")
	synced := make(chan struct{})
	go func() {
		unix.Sync()
		close(synced)
	}()
	select {
	case <-synced: // what counts has been synced before
	case <-time.After(time.Minute):
	}
	hardReset()
}

func hardReset() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	if f, err := os.OpenFile("/proc/sysrq-trigger", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("b")
	}
	// Neither works: as PID 1 ends the kernel panics, and panic=10 resets.
	os.Exit(1)
}

// peakMemory is the most that this process has had, as the kernel says it.
func peakMemory() string {
	b, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				return strings.Join(strings.Fields(n), " ")
			}
		}
	}
	return "unknown"
}
