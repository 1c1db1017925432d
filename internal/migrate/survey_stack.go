package migrate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// findDisk finds the one disk under the root file system. What stands in the
// way becomes an obstacle; the disk is then "" unless one is known all the
// same.
func (h *host) findDisk(s *Survey, root mount) string {
	obstacle := func(kind ObstacleKind, detail string) {
		s.Obstacles = append(s.Obstacles, Obstacle{kind, clip(detail)})
	}
	// Major 0: no block device. btrfs has such numbers of its own.
	if root.device == "" || strings.HasPrefix(root.device, "0:") {
		obstacle(ObstacleNoDisk, root.fstype+" on "+root.source)
		return ""
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(h.sys, "dev/block", root.device))
	if err != nil {
		obstacle(ObstacleNoDisk, "device "+root.device)
		return ""
	}
	var disks []string
	h.walkStack(dir, obstacle, &disks)
	slices.Sort(disks)
	disks = slices.Compact(disks)
	if len(disks) > 1 {
		obstacle(ObstacleDisks, strings.Join(disks, ", "))
	}
	if len(disks) != 1 {
		return ""
	}
	return disks[0]
}

// walkStack goes down from a block device, given its directory in /sys, to
// the disks under it.
func (h *host) walkStack(dir string, obstacle func(ObstacleKind, string), disks *[]string) {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	name := filepath.Base(dir)
	switch {
	case has("md"):
		obstacle(ObstacleRAID, name)
	case has("dm"):
		uuid := h.line(dir, "dm/uuid")
		switch {
		case strings.HasPrefix(uuid, "LVM-"):
			// Which of LVM's kinds of volumes it is, its metadata tell.
		case strings.HasPrefix(uuid, "CRYPT-"):
			obstacle(ObstacleCrypt, h.line(dir, "dm/name"))
		case strings.Contains(uuid, "mpath-"): // also part1-mpath-…
			obstacle(ObstacleMultipath, h.line(dir, "dm/name"))
		default:
			obstacle(ObstacleMapper, h.line(dir, "dm/name"))
		}
	case has("partition"):
		parent := filepath.Dir(dir)
		if _, err := os.Stat(filepath.Join(parent, "md")); err == nil {
			h.walkStack(parent, obstacle, disks)
			return
		}
		*disks = append(*disks, filepath.Base(parent))
		return
	case !has("slaves") || empty(filepath.Join(dir, "slaves")):
		obstacle(ObstacleWhole, name)
		*disks = append(*disks, name)
		return
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil {
		return
	}
	for _, e := range slaves {
		if below, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", e.Name())); err == nil {
			h.walkStack(below, obstacle, disks)
		}
	}
}

func empty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// matchMounts tells each volume where it is mounted, by device number, and
// how much is free on it.
func (h *host) matchMounts(s *Survey, disk string, mounts map[string]mount) error {
	numbers, err := h.deviceNumbers(s, disk)
	if err != nil {
		return err
	}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		number := numbers[v.Name]
		for _, m := range mounts {
			// A bind mount shows a part; the shortest of several is the one.
			if m.device != number || m.root != "/" || v.Mount != "" && len(v.Mount) <= len(m.at) {
				continue
			}
			v.Mount, v.ReadOnly, v.Device = m.at, m.readOnly, m.source
		}
		if v.Mount == "" || v.Content.Kind != KindFilesystem && v.Content.Kind != KindFAT {
			continue
		}
		if v.Content.Size, v.Content.Free, err = h.statfs(v.Mount); err != nil {
			return err
		}
	}
	return nil
}

// deviceNumbers returns the kernel's numbers of the volumes, by name. It also
// holds the kernel's idea of the partitions against the table: a table that
// was changed and not read again would lead to wrong addresses.
func (h *host) deviceNumbers(s *Survey, disk string) (map[string]string, error) {
	base := filepath.Join(h.sys, "class/block", disk)
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	numbers := map[string]string{}
	for _, e := range entries {
		number, err := h.number("class/block", disk, e.Name(), "partition")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range s.Volumes {
			v := &s.Volumes[i]
			if v.Logical() || v.Part != number {
				continue
			}
			numbers[v.Name] = h.line(base, e.Name()+"/dev")
			start, err1 := h.number("class/block", disk, e.Name(), "start")
			size, err2 := h.number("class/block", disk, e.Name(), "size")
			if v.Content.Kind != KindExtended && (err1 != nil || err2 != nil || int64(start)*sector != v.Start() || int64(size)*sector != v.Size) {
				v.Problem = "the kernel knows it with another start or size than the partition table has: reboot first"
			}
		}
	}
	return numbers, h.logicalNumbers(numbers)
}

// logicalNumbers adds those of logical volumes, under the names that the
// survey has for them.
func (h *host) logicalNumbers(numbers map[string]string) error {
	all, err := os.ReadDir(filepath.Join(h.sys, "class/block"))
	if err != nil {
		return err
	}
	for _, e := range all {
		dir := filepath.Join(h.sys, "class/block", e.Name())
		if !strings.HasPrefix(h.line(dir, "dm/uuid"), "LVM-") {
			continue
		}
		if name, ok := splitMapperName(h.line(dir, "dm/name")); ok {
			numbers[name] = h.line(dir, "dev")
		}
	}
	return nil
}

// splitMapperName turns device-mapper's "vg--0-root" into "vg-0/root": LVM
// doubles hyphens and joins with a single one.
func splitMapperName(s string) (string, bool) {
	const mark = "\x00"
	group, volume, ok := strings.Cut(strings.ReplaceAll(s, "--", mark), "-")
	if !ok || strings.Contains(volume, "-") { // a layer of a volume, such as -tpool
		return "", false
	}
	return strings.ReplaceAll(group+"/"+volume, mark, "-"), true
}
