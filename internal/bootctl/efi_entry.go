package bootctl

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

const efiDescription = "abupdate"

// EFIEntry is a boot entry of the firmware: a loader on a partition of a GPT.
type EFIEntry struct {
	Description string
	// The partition that the loader is on; Start and Size in bytes.
	Partition   int
	Start, Size int64
	PartUUID    string
	// Loader is a path with backslashes.
	Loader string
}

// NewEFIEntry is our entry, given where the ESP is.
func NewEFIEntry(number int, start, size int64, partUUID string) EFIEntry {
	return EFIEntry{efiDescription, number, start, size, partUUID, EFILoaderPath}
}

// loadActive: the firmware tries the entry (LOAD_OPTION_ACTIVE).
const loadActive = 1

// encode returns the entry as EFI_LOAD_OPTION with a short form device path:
// a partition of a GPT, and a file on it.
func (e EFIEntry) encode() ([]byte, error) {
	id, err := efiGUID(e.PartUUID)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	hd := []byte{4, 1, 42, 0} // media, hard drive, its length
	hd = le.AppendUint32(hd, uint32(e.Partition))
	hd = le.AppendUint64(hd, uint64(e.Start/EnvSize))
	hd = le.AppendUint64(hd, uint64(e.Size/EnvSize))
	hd = append(hd, id[:]...)
	hd = append(hd, 2, 2) // GPT; known by its GUID
	name := append(utf16Bytes(e.Loader), 0, 0)
	file := le.AppendUint16([]byte{4, 4}, uint16(4+len(name)))
	path := slices.Concat(hd, file, name, []byte{0x7F, 0xFF, 4, 0})

	b := le.AppendUint32(nil, loadActive)
	b = le.AppendUint16(b, uint16(len(path)))
	b = append(b, utf16Bytes(e.Description)...)
	return append(append(b, 0, 0), path...), nil
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// efiGUID encodes a GUID: its first three fields are little endian.
func efiGUID(text string) (g [16]byte, err error) {
	digits := strings.ReplaceAll(text, "-", "")
	if len(text) != 36 || len(digits) != 32 {
		return g, fmt.Errorf("PARTUUID %.40q is no GUID", text)
	}
	for i := range g {
		n, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return g, fmt.Errorf("PARTUUID %.40q is no GUID", text)
		}
		g[i] = byte(n)
	}
	slices.Reverse(g[0:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g, nil
}
