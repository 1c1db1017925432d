package mkfs

import (
	"fmt"
	"io"
	"strings"
)

const (
	dirEntrySize = 32

	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20

	// lowerBase and lowerExt say that a half of a short name is shown in lower
	// case: Windows NT's flags, which Linux and UEFI know too.
	lowerBase = 0x08
	lowerExt  = 0x10

	// fatDate is 1980-01-01, the first there is: the result must not depend
	// on the clock.
	fatDate = 0x0021

	media   = 0xF8 // fixed disk
	endMark = 0x0FFFFFFF
)

// write writes the metadata and all files, each padded to whole clusters.
func (v *fat) write(w io.WriterAt) error {
	put := func(at uint32, b []byte) error {
		_, err := w.WriteAt(b, int64(at)*sector)
		return err
	}
	meta := make([]byte, v.reserved*sector)
	copy(meta, v.bootSector())
	if v.wide {
		info := v.infoSector()
		copy(meta[1*sector:], info)
		copy(meta[6*sector:], meta[:sector]) // the backup
		copy(meta[7*sector:], info)
	}
	if err := put(0, meta); err != nil {
		return err
	}
	table := v.table()
	for i := range uint32(2) {
		if err := put(v.reserved+i*v.fatSectors, table); err != nil {
			return err
		}
	}
	if !v.wide {
		root := make([]byte, v.rootSectors()*sector)
		copy(root, v.dirEntries(v.root, v.root))
		if err := put(v.reserved+2*v.fatSectors, root); err != nil {
			return err
		}
	}
	var err error
	v.root.walk(func(n, parent *node) {
		if err != nil || n.count == 0 {
			return
		}
		f := File{Path: n.name, Data: v.dirEntries(n, parent)}
		if !n.isDir() {
			f = *n.file
		}
		err = writePadded(w, v.clusterOffset(n.first), f, int64(n.count)*v.clusterBytes())
	})
	return err
}

func (v *fat) bootSector() []byte {
	b := make([]byte, sector)
	copy(b, []byte{0xEB, 0x58, 0x90})
	copy(b[3:], "ABUPDATE")
	le.PutUint16(b[11:], sector)
	b[13] = byte(v.perCluster)
	le.PutUint16(b[14:], uint16(v.reserved))
	b[16] = 2 // FATs
	b[21] = media
	le.PutUint16(b[24:], 32) // sectors per track and heads: nobody reads them,
	le.PutUint16(b[26:], 64) // but fsck wants them not to be 0
	if v.sectors < 1<<16 && !v.wide {
		le.PutUint16(b[19:], uint16(v.sectors))
	} else {
		le.PutUint32(b[32:], v.sectors)
	}
	ext := b[36:]
	if v.wide {
		le.PutUint32(b[36:], v.fatSectors)
		le.PutUint32(b[44:], fat32Root)
		le.PutUint16(b[48:], 1) // the info sector
		le.PutUint16(b[50:], 6) // the backup boot sector
		ext = b[64:]
	} else {
		le.PutUint16(b[17:], fat16Root)
		le.PutUint16(b[22:], uint16(v.fatSectors))
	}
	ext[0], ext[2] = 0x80, 0x29
	le.PutUint32(ext[3:], v.serial)
	copy(ext[7:], fmt.Sprintf("%-11s", v.label))
	copy(ext[18:], map[bool]string{true: "FAT32   ", false: "FAT16   "}[v.wide])
	b[510], b[511] = 0x55, 0xAA
	return b
}

func (v *fat) infoSector() []byte {
	b := make([]byte, sector)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], v.clusters-(v.next-firstCluster))
	le.PutUint32(b[492:], v.next)
	b[510], b[511] = 0x55, 0xAA
	return b
}

// table is one FAT: each run is a chain of neighbours.
func (v *fat) table() []byte {
	b := make([]byte, v.fatSectors*sector)
	set := func(cluster, value uint32) {
		if v.wide {
			le.PutUint32(b[4*cluster:], value)
		} else {
			le.PutUint16(b[2*cluster:], uint16(value))
		}
	}
	set(0, endMark&^0xFF|media)
	set(1, endMark)
	v.root.walk(func(n, _ *node) {
		for i := range n.count {
			if i+1 < n.count {
				set(n.first+i, n.first+i+1)
			} else {
				set(n.first+i, endMark)
			}
		}
	})
	return b
}

func (v *fat) dirEntries(n, parent *node) []byte {
	var out []byte
	if n == v.root {
		out = append(out, dirEntry([]byte(fmt.Sprintf("%-11s", v.label)), attrLabel, 0, 0, 0)...)
	} else {
		up := parent.first
		if parent == v.root {
			up = 0 // "..": 0 stands for the root, also on FAT32
		}
		out = append(out, dirEntry([]byte(".          "), attrDir, 0, n.first, 0)...)
		out = append(out, dirEntry([]byte("..         "), attrDir, 0, up, 0)...)
	}
	for _, c := range n.children {
		name, err := shortName(c.name)
		if err != nil {
			panic("internal error: " + err.Error()) // place has checked it
		}
		if c.isDir() {
			out = append(out, dirEntry(name.padded[:], attrDir, name.lower, c.first, 0)...)
		} else {
			out = append(out, dirEntry(name.padded[:], attrArchive, name.lower, c.first, uint32(c.file.size()))...)
		}
	}
	return out
}

func dirEntry(name []byte, attr, lower byte, first, size uint32) []byte {
	b := make([]byte, dirEntrySize)
	copy(b, name)
	b[11], b[12] = attr, lower
	le.PutUint16(b[16:], fatDate) // created
	le.PutUint16(b[18:], fatDate) // accessed
	le.PutUint16(b[20:], uint16(first>>16))
	le.PutUint16(b[24:], fatDate) // modified
	le.PutUint16(b[26:], uint16(first))
	le.PutUint32(b[28:], size)
	return b
}

// shortNameRunes are what we let into short names: a subset of what FAT does.
const shortNameRunes = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// fatName is a short name as it lies in a directory entry.
type fatName struct {
	padded [11]byte
	lower  byte
}

// shortName encodes an 8.3 name.
func shortName(name string) (fatName, error) {
	base, ext, _ := strings.Cut(name, ".")
	n := fatName{padded: [11]byte([]byte("           "))}
	if base == "" || len(base) > 8 || len(ext) > 3 || strings.HasSuffix(name, ".") {
		return n, fmt.Errorf("%q is not an 8.3 name", name)
	}
	for _, half := range []struct {
		text string
		at   int
		flag byte
	}{{base, 0, lowerBase}, {ext, 8, lowerExt}} {
		upper := strings.ToUpper(half.text)
		if strings.Trim(upper, shortNameRunes) != "" {
			return n, fmt.Errorf("%q: only letters, digits, - and _ in an 8.3 name", name)
		}
		switch {
		case half.text == upper:
		case half.text == strings.ToLower(half.text):
			n.lower |= half.flag
		default:
			return n, fmt.Errorf("%q: upper and lower case mixed in one half of an 8.3 name", name)
		}
		copy(n.padded[half.at:], upper)
	}
	return n, nil
}
