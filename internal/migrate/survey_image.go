package migrate

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// SurveyImage looks at the disk image at path: partition tables, LVM metadata
// and superblocks. It mounts nothing, so it needs no root, and cannot see
// files.
func SurveyImage(path string) (*Survey, error) {
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: --disk takes a disk image, and %s is no regular file", update.ErrUsage, path)
	}
	dev, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	s, err := surveyDisk(path, dev)
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", path, err)
	}
	return s, nil
}

// surveyDisk looks at a disk that nothing runs from.
func surveyDisk(name string, dev blockdev.Device) (*Survey, error) {
	s := &Survey{Disk: Disk{Name: name}}
	if err := s.readDisk(dev); err != nil {
		return nil, err
	}
	s.markAB()
	s.guessMounts()
	s.guessFirmware()
	s.guessTrees()
	s.unseen("which machine it is: CPU, memory, firmware settings and Secure Boot")
	s.unseen("what runs on it: whether disks other than this one are in use, multipath, mounts")
	s.unseen("files: which directories hold customers' data, preserve policies, the boot loader's configuration and the ESP's content")
	return s, nil
}

// markAB recognises a disk that abupdate has set up.
func (s *Survey) markAB() {
	if s.Disk.Table == nil || s.AB != "" {
		return
	}
	for _, v := range s.Volumes {
		if v.Content.Format == "ext4" && v.Content.Label == "abboot" {
			s.AB = v.Name + " is abboot"
			return
		}
	}
}

// Types of GPT partitions with a meaning for Linux (the Discoverable
// Partitions Specification).
const (
	typeRootX86  = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	typeXBootldr = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
	typeHome     = "933ac7e1-2eb4-4f13-b844-0e14e2aef915"
	typeMBRESP   = "ef"
)

// mountNames are names of volumes and labels that say where a file system is
// usually mounted.
var mountNames = []string{"home", "var", "opt", "srv", "data", "tmp"}

// maxBoot is the largest file system that is taken for /boot by its size.
const maxBoot = 2 << 30

// guessMounts finds the root file system, /boot and others by what the disk
// says of them; none is mounted.
func (s *Survey) guessMounts() {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Content.Kind == KindFilesystem {
			v.Mount, v.Guess = s.guessMount(v)
		}
	}
	if s.Root() == nil {
		var largest *Volume
		for i := range s.Volumes {
			v := &s.Volumes[i]
			if v.Content.Kind == KindFilesystem && v.Mount == "" && (largest == nil || v.Size > largest.Size) {
				largest = v
			}
		}
		if largest != nil {
			largest.Mount, largest.Guess = "/", "it is the largest file system"
		}
	}
	if s.mounted("/boot") == nil {
		s.guessBoot()
	}
	s.keepFirst()
}

// guessMount goes by the place where the file system was mounted last, its
// name, its label or its type.
func (s *Survey) guessMount(v *Volume) (mount, why string) {
	switch last := path.Clean("/" + v.Content.LastMounted); {
	case v.Content.LastMounted == "":
	case last == "/", last == "/sysroot", last == "/root": // an initramfs mounts it there
		return "/", "it was mounted there last"
	default:
		return clip(last), "it was mounted there last"
	}
	p, ok := s.Disk.Table.Part(v.Part)
	names := []string{v.Content.Label}
	if v.Logical() {
		names = append(names, path.Base(v.Name))
	} else if ok {
		names = append(names, p.Name)
		switch p.Type {
		case typeRootX86:
			return "/", "its partition has the type of one"
		case typeXBootldr:
			return "/boot", "its partition has the type of one"
		case typeHome:
			return "/home", "its partition has the type of one"
		}
	}
	for _, name := range names {
		name = strings.ToLower(strings.Trim(name, "/"))
		switch {
		case name == "root" || name == "boot":
			return map[string]string{"root": "/", "boot": "/boot"}[name], fmt.Sprintf("its name is %q", name)
		case slices.Contains(mountNames, name):
			return "/" + name, fmt.Sprintf("its name is %q", name)
		}
	}
	return "", ""
}

// guessBoot takes a small file system on a partition of its own for /boot.
func (s *Survey) guessBoot() {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Content.Kind == KindFilesystem && v.Mount == "" && !v.Logical() && v.Size <= maxBoot {
			v.Mount, v.Guess = "/boot", "it is small and in front"
			return
		}
	}
}

// keepFirst takes a mount point away from all but the first that was guessed
// to have it.
func (s *Survey) keepFirst() {
	seen := map[string]bool{}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Mount != "" && seen[v.Mount] {
			v.Mount, v.Guess = "", ""
		}
		seen[v.Mount] = true
	}
}

// guessFirmware goes by what the disk is made to boot on.
func (s *Survey) guessFirmware() {
	if s.Disk.Table == nil {
		return
	}
	s.Machine.Firmware = BIOS
	switch hasESP := s.esp() != nil; {
	case hasESP && s.Disk.Loader.GRUB:
		s.unseen("whether it boots by BIOS or UEFI: the disk is made for both, and was taken for BIOS")
	case hasESP:
		s.Machine.Firmware = UEFI
	}
}

// guessTrees takes each file system but the system's own for a tree.
func (s *Survey) guessTrees() {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Content.Kind != KindFilesystem || v.Mount == "/" || v.Mount == "/boot" || s.isESP(v) {
			continue
		}
		mount := v.Mount
		if mount == "" {
			mount = v.Name
		}
		t := Tree{Path: mount, Volume: v.Name, Bytes: v.Used(), Root: true, Partial: true}
		if v.Mount == "/tmp" {
			t.Drop = "built-in: temporary files"
		}
		s.Trees = append(s.Trees, t)
	}
}

func (s *Survey) isESP(v *Volume) bool {
	if v.Logical() || s.Disk.Table == nil {
		return false
	}
	p, ok := s.Disk.Table.Part(v.Part)
	return ok && (p.Type == partition.TypeESP || p.Type == typeMBRESP)
}
