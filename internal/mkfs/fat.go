package mkfs

import (
	"fmt"
	"io"
	"strings"
)

const (
	sector       = 512
	fat16Root    = 512 // entries of the fixed root directory of FAT16
	fat32Root    = 2   // first cluster of the root directory of FAT32
	firstCluster = 2

	// The type of a FAT is told by its number of clusters alone (Microsoft,
	// "FAT: General Overview of On-Disk Format"). 16 clusters of distance
	// keep off the borders, where drivers are known to disagree.
	minFAT16 = 4085 + 16
	minFAT32 = 65525 + 16
	maxFAT32 = 1 << 28

	// fat32From is the size from which a volume becomes FAT32, which is what
	// the UEFI specification asks of a system partition (§13.3).
	fat32From = 40 << 20
)

// fat is a volume that is being laid out.
type fat struct {
	serial  uint32
	label   string
	sectors uint32

	wide       bool   // FAT32
	reserved   uint32 // sectors before the first FAT
	perCluster uint32 // sectors
	fatSectors uint32 // of one of the two FATs
	clusters   uint32

	root *node
	next uint32 // next free cluster
}

// FAT writes a FAT file system of size bytes to w, which holds files. It is
// FAT16 below 40 MiB and FAT32 above.
//
// Names must be 8.3 and each of their halves in one case, so that no long
// name entries are needed. Each file is one contiguous run of clusters.
func FAT(w io.WriterAt, size int64, serial uint32, label string, files []File) error {
	v, err := layoutFAT(size, serial, label, files)
	if err != nil {
		return fmt.Errorf("making FAT %q: %w", label, err)
	}
	if err := v.write(w); err != nil {
		return fmt.Errorf("writing FAT %q: %w", label, err)
	}
	return nil
}

func layoutFAT(size int64, serial uint32, label string, files []File) (*fat, error) {
	if size < 0 || size/sector > 1<<32-1 {
		return nil, fmt.Errorf("%d bytes are more than 32-bit sector numbers reach", size)
	}
	if label == "" || len(label) > 11 || strings.Trim(label, shortNameRunes) != "" {
		return nil, fmt.Errorf("label %q: must be 1 to 11 of %s", label, shortNameRunes)
	}
	v := &fat{serial: serial, label: label, sectors: uint32(size / sector)}
	if err := v.chooseGeometry(size); err != nil {
		return nil, err
	}
	root, err := buildTree(files)
	if err != nil {
		return nil, err
	}
	v.root = root
	return v, v.place()
}

// chooseGeometry sizes clusters and FATs.
func (v *fat) chooseGeometry(size int64) error {
	v.wide, v.reserved, v.perCluster = false, 1, 1
	least, most, entry := uint32(minFAT16), uint32(minFAT32-32), uint32(2)
	if size >= fat32From {
		v.wide, v.reserved = true, 32
		least, most, entry = minFAT32, maxFAT32-16, 4
		if size > 260<<20 {
			v.perCluster = 8 // 4 KiB, as every formatter chooses here
		}
	}
	for ; v.perCluster <= 64; v.perCluster *= 2 {
		if v.sectors < v.reserved+v.rootSectors()+v.perCluster {
			break
		}
		// The FAT itself takes room from the clusters that it describes: this
		// is a little more than needed, and never less.
		v.fatSectors = ((v.sectors/v.perCluster+firstCluster)*entry + sector - 1) / sector
		if meta := v.dataStart(); meta < v.sectors {
			v.clusters = (v.sectors - meta) / v.perCluster
			if v.clusters >= least && v.clusters <= most {
				return nil
			}
		}
	}
	return fmt.Errorf("%d bytes: no cluster size fits", size)
}

// rootSectors is the length of FAT16's fixed root directory.
func (v *fat) rootSectors() uint32 {
	if v.wide {
		return 0
	}
	return fat16Root * dirEntrySize / sector
}

// dataStart is the first sector of cluster 2.
func (v *fat) dataStart() uint32 { return v.reserved + 2*v.fatSectors + v.rootSectors() }

func (v *fat) clusterBytes() int64 { return int64(v.perCluster) * sector }

// clusterOffset is the place of a cluster, in bytes.
func (v *fat) clusterOffset(cluster uint32) int64 {
	return int64(v.dataStart())*sector + int64(cluster-firstCluster)*v.clusterBytes()
}

// place gives each file and directory its run of clusters.
func (v *fat) place() error {
	v.next = firstCluster
	var err error
	v.root.walk(func(n, _ *node) {
		if err != nil {
			return
		}
		if n != v.root {
			if _, nameErr := shortName(n.name); nameErr != nil {
				err = nameErr
				return
			}
		}
		size := v.dirBytes(n)
		switch {
		case !n.isDir():
			size = n.file.size()
			if size >= 1<<32 {
				err = fmt.Errorf("%q: %d bytes are more than a FAT file can have", n.name, size)
				return
			}
		case n == v.root && !v.wide:
			if size > fat16Root*dirEntrySize {
				err = fmt.Errorf("more than %d entries in the root directory: %w", fat16Root-1, ErrNoSpace)
			}
			return // it has its own place
		}
		err = v.allocate(n, size)
	})
	return err
}

func (v *fat) allocate(n *node, size int64) error {
	count := (size + v.clusterBytes() - 1) / v.clusterBytes()
	if count == 0 {
		return nil
	}
	if count > int64(v.clusters)-int64(v.next-firstCluster) {
		return fmt.Errorf("%q, %d bytes: %w", n.name, size, ErrNoSpace)
	}
	n.first, n.count = v.next, uint32(count)
	v.next += n.count
	return nil
}

// dirBytes is the length of a directory's entries.
func (v *fat) dirBytes(n *node) int64 {
	entries := int64(len(n.children)) + 2 // "." and ".."
	if n == v.root {
		entries = int64(len(n.children)) + 1 // the label
	}
	return entries * dirEntrySize
}
