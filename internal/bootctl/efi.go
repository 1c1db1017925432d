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
)

// The firmware's boot entries, through efivarfs. A variable is a file whose
// first four bytes are its attributes (Linux
// Documentation/filesystems/efivarfs.rst); the names and forms of boot entries
// are in the UEFI specification, §3.1 and §10.3.
const (
	efiGlobal    = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	bootOrderVar = "BootOrder-" + efiGlobal

	maxBootEntries = 256
)

// EFILoaderPath is our loader on the ESP, in the firmware's words.
const EFILoaderPath = `\EFI\abupdate\grubx64.efi`

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
