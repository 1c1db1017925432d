package bootctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// The firmware's boot entries, through efivarfs. A variable is a file whose
// first four bytes are its attributes (Linux
// Documentation/filesystems/efivarfs.rst); the names and forms of boot entries
// are in the UEFI specification, §3.1 and §10.3.
const (
	efiGlobal    = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	bootOrderVar = "BootOrder-" + efiGlobal

	// Non-volatile, at boot time, at run time.
	efiAttributes = 1 | 2 | 4

	loadActive     = 1
	maxEFIVariable = 64 << 10
	maxBootEntries = 256
)

// EFILoaderPath is our loader on the ESP, in the firmware's words.
const EFILoaderPath = `\EFI\abupdate\grubx64.efi`

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

// ReadBootOrder returns the numbers of the firmware's boot entries, in the
// order in which it tries them, given the directory of efivarfs.
func ReadBootOrder(dir string) ([]uint16, error) {
	b, err := readEFIVariable(dir, bootOrderVar)
	if errors.Is(err, fs.ErrNotExist) {
		// The directory tells a firmware without an order from no efivarfs.
		if entries, dirErr := os.ReadDir(dir); dirErr != nil || len(entries) == 0 {
			return nil, fmt.Errorf("%w: %s holds no variables: efivarfs is not mounted", ErrBootState, dir)
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseBootOrder(b)
}

func parseBootOrder(b []byte) ([]uint16, error) {
	if len(b)%2 != 0 || len(b) > 2*maxBootEntries {
		return nil, fmt.Errorf("%w: BootOrder of %d bytes", ErrBootState, len(b))
	}
	var order []uint16
	for i := 0; i < len(b); i += 2 {
		order = append(order, binary.LittleEndian.Uint16(b[i:]))
	}
	return order, nil
}

// PutBootFirst makes our loader the first that the firmware starts: the entry
// first, then its place in the order, both read back.
func PutBootFirst(dir string, e EFIEntry) error {
	order, err := ReadBootOrder(dir)
	if err != nil {
		return err
	}
	ours, err := ourEntries(dir)
	if err != nil {
		return err
	}
	want, err := e.encode()
	if err != nil {
		return err
	}
	number, ok := uint16(0), len(ours) > 0
	if ok {
		number = ours[0]
	} else if number, ok = freeEntry(dir); !ok {
		return fmt.Errorf("%w: the firmware has no free boot entry", ErrBootState)
	}
	if err := writeEFIVariable(dir, entryName(number), want); err != nil {
		return err
	}
	next := []uint16{number}
	for _, n := range order {
		if !slices.Contains(ours, n) && n != number {
			next = append(next, n)
		}
	}
	// COMMIT POINT on UEFI: with this variable the firmware starts our loader.
	return writeEFIVariable(dir, bootOrderVar, encodeBootOrder(next))
}

// RemoveBoot takes our entries out of the firmware's order, and then away.
func RemoveBoot(dir string) error {
	ours, err := ourEntries(dir)
	if err != nil || len(ours) == 0 {
		return err
	}
	order, err := ReadBootOrder(dir)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(order), func(n uint16) bool { return slices.Contains(ours, n) })
	if len(rest) != len(order) {
		if err := writeEFIVariable(dir, bootOrderVar, encodeBootOrder(rest)); err != nil {
			return err
		}
	}
	for _, n := range ours {
		path := filepath.Join(dir, entryName(n))
		makeMutable(path)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: removing the firmware's boot entry %04X: %w", ErrBootState, n, err)
		}
	}
	return nil
}

// IsBootFirst reports whether our loader is the first in the order.
func IsBootFirst(dir string) (bool, error) {
	order, err := ReadBootOrder(dir)
	if err != nil || len(order) == 0 {
		return false, err
	}
	ours, err := ourEntries(dir)
	return slices.Contains(ours, order[0]), err
}

func encodeBootOrder(order []uint16) []byte {
	var b []byte
	for _, n := range order {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}

func entryName(n uint16) string { return fmt.Sprintf("Boot%04X-%s", n, efiGlobal) }

// entryNumber is the number in a variable's name.
func entryNumber(name string) (uint16, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, "-"+efiGlobal), "Boot")
	if !ok || len(digits) != 4 || !strings.HasSuffix(name, "-"+efiGlobal) {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 16)
	return uint16(n), err == nil
}

// ourEntries returns the numbers of the entries that start our loader.
func ourEntries(dir string) ([]uint16, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: the firmware's boot entries: %w", ErrBootState, err)
	}
	var ours []uint16
	for _, v := range entries {
		n, ok := entryNumber(v.Name())
		if !ok {
			continue
		}
		b, err := readEFIVariable(dir, v.Name())
		if err != nil {
			return nil, err
		}
		if isOurs(b) {
			ours = append(ours, n)
		}
	}
	return ours, nil
}

// isOurs looks for our loader's path; what else the firmware has made of the
// entry does not matter.
func isOurs(b []byte) bool { return strings.Contains(string(b), string(utf16Bytes(EFILoaderPath))) }

func freeEntry(dir string) (uint16, bool) {
	for n := range uint16(maxBootEntries) {
		if _, err := os.Stat(filepath.Join(dir, entryName(n))); errors.Is(err, fs.ErrNotExist) {
			return n, true
		}
	}
	return 0, false
}

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

// NewEFIEntry is our entry, given where the ESP is.
func NewEFIEntry(number int, start, size int64, partUUID string) EFIEntry {
	return EFIEntry{efiDescription, number, start, size, partUUID, EFILoaderPath}
}

func readEFIVariable(dir, name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("%w: reading a variable of the firmware: %w", ErrBootState, err)
	}
	if len(b) < 4 || len(b) > maxEFIVariable {
		return nil, fmt.Errorf("%w: the firmware's variable %s has %d bytes", ErrBootState, name, len(b))
	}
	return b[4:], nil
}

// writeEFIVariable writes a variable, unless it is right already, and reads it
// back: firmware has been seen to forget.
func writeEFIVariable(dir, name string, value []byte) error {
	if have, err := readEFIVariable(dir, name); err == nil && string(have) == string(value) {
		return nil
	}
	path := filepath.Join(dir, name)
	makeMutable(path)
	// One write is one call of the firmware's SetVariable, whole or not at all.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("%w: writing the firmware's variable %s: %w", ErrBootState, name, err)
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint32(nil, efiAttributes), value...))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: writing the firmware's variable %s: %w", ErrBootState, name, err)
	}
	have, err := readEFIVariable(dir, name)
	if err != nil {
		return err
	}
	if string(have) != string(value) {
		return fmt.Errorf("%w: the firmware did not keep the variable %s", ErrBootState, name)
	}
	return nil
}

// makeMutable takes off the flag that newer kernels protect variables with; an
// error shows when the variable is written.
func makeMutable(path string) {
	const immutable = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&immutable != 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable)
	}
}
