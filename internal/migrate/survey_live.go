package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/update"
)

// host is the running machine as the survey sees it: its directories, and the
// two questions that files do not answer.
type host struct {
	root, proc, sys, dev string
	statfs               func(path string) (size, free int64, err error)
	open                 func(path string) (device, error)
	cpuLevel             func() int

	// What follows serves what changes the machine.
	openWrite func(path string) (device, error)
	lock      func() (io.Closer, error)
	mount     func(dev, at, fstype string) (unmount func() error, err error)
}

type device interface {
	blockdev.Device
	Close() error
}

// SurveyLive looks at the machine that the program runs on. It needs root and
// writes nothing; counting files takes as long as du does.
func SurveyLive(ctx context.Context) (*Survey, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	s, err := h.survey(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking at this machine: %w", err)
	}
	return s, nil
}

// thisHost is the machine that the program runs on.
func thisHost() (*host, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("looking at this machine's disk: %w", os.ErrPermission)
	}
	return &host{
		root: "/", proc: "/proc", sys: "/sys", dev: "/dev", statfs: statfs, cpuLevel: cpuid.CPU.X64Level,
		open:      func(path string) (device, error) { return blockdev.Open(path, blockdev.Options{}) },
		openWrite: func(path string) (device, error) { return blockdev.Open(path, blockdev.Options{Write: true}) },
		lock:      update.Lock,
		mount:     mountTemporarily,
	}, nil
}

func statfs(path string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("asking for free space on %s: %w", path, err)
	}
	return int64(st.Blocks) * st.Frsize, int64(st.Bavail) * st.Frsize, nil
}

func (h *host) survey(ctx context.Context) (*Survey, error) {
	s, mounts, err := h.surveyMachine()
	if err != nil || s.Disk.Table == nil {
		return s, err
	}
	return s, h.readTrees(ctx, s, mounts)
}

// surveyMachine is the survey without a look at files.
func (h *host) surveyMachine() (*Survey, map[string]mount, error) {
	s := &Survey{Live: true}
	if err := h.readMachine(s); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(h.proc, "self/mountinfo"))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	mounts, err := parseMounts(f)
	if err != nil {
		return nil, nil, err
	}
	return s, mounts, h.surveyDisk(s, mounts)
}

// surveyDisk looks at the disk under the root file system, if there is one
// that can be used.
func (h *host) surveyDisk(s *Survey, mounts map[string]mount) (err error) {
	disk := h.findDisk(s, mounts["/"])
	if disk == "" {
		return nil
	}
	s.Disk.Name = filepath.Join(h.dev, disk)
	if s.Disk.Sector, err = h.number("class/block", disk, "queue/logical_block_size"); err != nil {
		return err
	}
	// An old kernel, or none of a disk's, does not tell: then it is not known.
	s.Disk.Physical, _ = h.number("class/block", disk, "queue/physical_block_size")
	if s.Disk.Sector != blockdev.SectorSize {
		return nil
	}
	dev, err := h.open(s.Disk.Name)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := s.readDisk(dev); err != nil {
		return err
	}
	s.markAB()
	if err := h.matchMounts(s, disk, mounts); err != nil {
		return err
	}
	h.readESP(s)
	return nil
}

// readMachine reads what is known without the disk.
func (h *host) readMachine(s *Survey) error {
	m := &s.Machine
	cmdline, err := os.ReadFile(filepath.Join(h.proc, "cmdline"))
	if err != nil {
		return err
	}
	m.Cmdline = strings.TrimSpace(string(cmdline))
	// Any word of our grub.cfg says so; whether they are complete is the
	// update's concern.
	for word := range strings.FieldsSeq(m.Cmdline) {
		if system, ok := strings.CutPrefix(word, "ab.slot="); ok {
			s.AB = "abupdate's GRUB booted it as system " + clip(system)
		}
	}
	m.CPULevel = h.cpuLevel()
	m.Kernel = h.line(h.proc, "sys/kernel/osrelease")
	m.OS = osName(h.line(h.root, "etc/os-release"))
	m.RAM = memTotal(h.line(h.proc, "meminfo"))
	m.Firmware = BIOS
	if _, err := os.Stat(filepath.Join(h.sys, "firmware/efi")); err == nil {
		m.Firmware = UEFI
		// Four bytes of attributes, then the value (UEFI specification §3.3).
		b, err := os.ReadFile(filepath.Join(h.sys, "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
		m.SecureBoot = err == nil && len(b) == 5 && b[4] == 1
		if err != nil {
			s.unseen("whether Secure Boot is on: %v", err)
		}
	}
	return nil
}

// line reads a small file for the user's eyes; "" when it is not there.
func (h *host) line(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(b) > 64<<10 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (h *host) number(elem ...string) (int, error) {
	path := filepath.Join(append([]string{h.sys}, elem...)...)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return n, nil
}

func osName(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return clip(strings.Trim(name, `"'`))
		}
	}
	return ""
}

func memTotal(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		var kib int64
		if n, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil && n == 1 {
			return kib << 10
		}
	}
	return 0
}

// readESP lists the loaders' directories on the ESP, when it is mounted.
func (h *host) readESP(s *Survey) {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if !s.isESP(v) {
			continue
		}
		if v.Mount == "" {
			s.unseen("the content of the ESP (%s), which is not mounted", v.Name)
			continue
		}
		dirs, err := os.ReadDir(filepath.Join(h.root, v.Mount, "EFI"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.unseen("the content of the ESP: %v", err)
		}
		for _, d := range dirs {
			s.Disk.Loader.VendorDirs = append(s.Disk.Loader.VendorDirs, clip(d.Name()))
		}
	}
}
