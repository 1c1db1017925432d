package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

// deviceDirs are where drivers lie that lead to a disk or a network: with
// anything else the migrator has nothing to do, and a graphics driver only
// costs memory and may hang.
var deviceDirs = []string{
	"kernel/drivers/ata/", "kernel/drivers/block/", "kernel/drivers/scsi/", "kernel/drivers/nvme/",
	"kernel/drivers/message/", "kernel/drivers/virtio/", "kernel/drivers/hv/", "kernel/drivers/xen/",
	"kernel/drivers/mmc/", "kernel/drivers/usb/host/", "kernel/drivers/usb/storage/",
	"kernel/drivers/pci/", "kernel/drivers/vmd/", "kernel/drivers/net/", "kernel/drivers/watchdog/",
}

// carrier is the modalias of a PCI device for storage (class 1) or a network
// (class 2).
var carrier = regexp.MustCompile(`^pci:.*bc0[12]sc`)

// always are modules that are taken where the kernel has them not built in:
// what finds no alias on any device, and the checksums that file systems ask
// the kernel for by name, which then looks for a modprobe that is not there.
var always = []string{
	"crc32c_generic", "crc32c_intel", "libcrc32c", "crct10dif_generic",
	"dm_mod", "ext4", "xfs", "sd_mod", "virtio_blk", "virtio_pci", "virtio_scsi",
}

// choose returns the modules to pack, each behind those that it needs.
func (s *moduleSet) choose(root *os.Root, need []string) ([]string, error) {
	o := order{set: s, seen: map[string]bool{}}
	for _, name := range need {
		name = strings.ReplaceAll(name, "-", "_")
		if s.file[name] == "" && !s.builtin[name] {
			return nil, fmt.Errorf("the running kernel has no module %s: it cannot carry out the migration", name)
		}
	}
	wanted, err := s.devices(root)
	if err != nil {
		return nil, err
	}
	for _, name := range append(slices.Clone(always), need...) {
		o.add(strings.ReplaceAll(name, "-", "_"))
	}
	for _, name := range wanted {
		o.add(name)
	}
	return o.names, nil
}

// order puts modules behind what they need.
type order struct {
	set   *moduleSet
	seen  map[string]bool
	names []string
}

func (o *order) add(name string) {
	if o.seen[name] || o.set.file[name] == "" {
		return // in the kernel, or not of this kernel
	}
	o.seen[name] = true
	for _, soft := range o.set.before[name] {
		for _, other := range o.set.resolve(soft) {
			o.add(other)
		}
	}
	// modules.dep lists the nearest first; what they need in turn comes before
	// them by the recursion.
	for _, other := range o.set.depends[name] {
		o.add(other)
	}
	o.names = append(o.names, name)
}

// devices returns the drivers of this machine's devices, sorted: those that
// their modalias names, and those that are loaded.
func (s *moduleSet) devices(root *os.Root) ([]string, error) {
	found := map[string]bool{}
	take := func(name string, any bool) {
		name = strings.ReplaceAll(name, "-", "_")
		for _, dir := range deviceDirs {
			if strings.HasPrefix(s.file[name], dir) || any && !strings.HasPrefix(s.file[name], "kernel/") {
				found[name] = true
			}
		}
	}
	err := eachLine(root, "proc/modules", func(line string) {
		name, _, _ := strings.Cut(line, " ")
		// A loaded module of /drivers/net may be a tunnel or a bridge: which
		// card there is, the modalias tells.
		if !strings.HasPrefix(s.file[name], "kernel/drivers/net/") {
			take(name, false)
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	seen := map[string]bool{}
	err = fs.WalkDir(root.FS(), "sys/devices", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "modalias" {
			return nil // devices come and go, and some files nobody may read
		}
		b, err := root.ReadFile(name)
		text := strings.TrimSpace(string(b))
		if err != nil || text == "" || seen[text] {
			return nil
		}
		seen[text] = true
		// What a vendor has added lies in directories of its own: extra, updates,
		// weak-updates. The device's class tells what it is for.
		for _, module := range s.resolve(text) {
			take(module, carrier.MatchString(text))
		}
		return nil
	})
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}
