package bootctl

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// efivars is a directory like efivarfs: Boot0000 is the old system's entry and
// the only one in the order.
func efivars(t *testing.T, order ...uint16) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, value []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), append([]byte{7, 0, 0, 0}, value...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, err := EFIEntry{"CentOS Linux", 1, 1 << 20, 200 << 20, espUUID, `\EFI\centos\shimx64.efi`}.encode()
	if err != nil {
		t.Fatal(err)
	}
	put("Boot0000-"+efiGlobal, old)
	put("Boot0002-"+efiGlobal, []byte("something of the firmware's own"))
	put("SecureBoot-"+efiGlobal, []byte{0})
	put(bootOrderVar, encodeBootOrder(order))
	return dir
}

const espUUID = "0d1f2a3b-4c5d-4e6f-8091-a2b3c4d5e6f7"

func listEFI(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), "-"+efiGlobal))
	}
	return names
}

func TestEFIBootFirstAndBack(t *testing.T) {
	dir := efivars(t, 2, 0)
	before := listEFI(t, dir)
	ours := NewEFIEntry(1, 1<<20, 200<<20, espUUID)
	for range 2 { // the second time changes nothing
		if err := PutBootFirst(dir, ours); err != nil {
			t.Fatal(err)
		}
		order, err := ReadBootOrder(dir)
		if err != nil || !slices.Equal(order, []uint16{1, 2, 0}) {
			t.Fatalf("order %v, %v", order, err)
		}
		if first, err := IsBootFirst(dir); err != nil || !first {
			t.Fatalf("IsBootFirst: %v, %v", first, err)
		}
	}
	b, err := readEFIVariable(dir, entryName(1))
	want, _ := ours.encode()
	if err != nil || !bytes.Equal(b, want) {
		t.Fatalf("Boot0001: %x, %v", b, err)
	}
	// What firmware does: other entries go to the front, ours is lost from
	// the order.
	if err := writeEFIVariable(dir, bootOrderVar, encodeBootOrder([]uint16{2, 0})); err != nil {
		t.Fatal(err)
	}
	if first, _ := IsBootFirst(dir); first {
		t.Error("ours is said to be the first when it is not in the order")
	}
	if err := PutBootFirst(dir, ours); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := RemoveBoot(dir); err != nil {
			t.Fatal(err)
		}
		order, err := ReadBootOrder(dir)
		if after := listEFI(t, dir); err != nil || !slices.Equal(order, []uint16{2, 0}) || !slices.Equal(after, before) {
			t.Fatalf("order %v, variables %v, %v", order, after, err)
		}
	}
}

// TestEFIEntryEncoding takes an entry apart by the UEFI specification (§3.1.3,
// §10.3.5.1): attributes, path length, description, hard drive, file, end.
func TestEFIEntryEncoding(t *testing.T) {
	b, err := NewEFIEntry(1, 2048*512, 409600*512, espUUID).encode()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	head, desc := b[:6], utf16Bytes("abupdate\x00")
	path := b[6+len(desc):]
	if le.Uint32(head) != 1 || int(le.Uint16(head[4:])) != len(path) || !bytes.Equal(b[6:6+len(desc)], desc) {
		t.Errorf("head %x", b[:6+len(desc)])
	}
	hd := "04012a00" + "01000000" + "0008000000000000" + "0040060000000000" + "3b2a1f0d5d4c6f4e8091a2b3c4d5e6f7" + "0202"
	if got := hex.EncodeToString(path[:42]); got != hd {
		t.Errorf("hard drive\n got %s\nwant %s", got, hd)
	}
	file := utf16Bytes(EFILoaderPath + "\x00")
	if path[42] != 4 || path[43] != 4 || int(le.Uint16(path[44:])) != 4+len(file) || !bytes.Equal(path[46:46+len(file)], file) {
		t.Errorf("file %x", path[42:])
	}
	if end := path[46+len(file):]; !bytes.Equal(end, []byte{0x7F, 0xFF, 4, 0}) {
		t.Errorf("end %x", end)
	}
	if _, err := NewEFIEntry(1, 0, 0, "000c0003-01").encode(); err == nil {
		t.Error("an entry for a partition of an MBR")
	}
}

func TestEFIRefusals(t *testing.T) {
	empty := t.TempDir()
	if _, err := ReadBootOrder(empty); !errors.Is(err, ErrBootState) {
		t.Errorf("no efivarfs: %v", err)
	}
	if _, err := ReadBootOrder(filepath.Join(empty, "none")); !errors.Is(err, ErrBootState) {
		t.Errorf("no directory: %v", err)
	}
	dir := efivars(t, 0)
	if err := os.Remove(filepath.Join(dir, bootOrderVar)); err != nil {
		t.Fatal(err)
	}
	if order, err := ReadBootOrder(dir); err != nil || order != nil {
		t.Errorf("a firmware without an order: %v, %v", order, err)
	}
	if err := PutBootFirst(dir, NewEFIEntry(1, 1<<20, 1<<20, espUUID)); err != nil {
		t.Errorf("a firmware without an order: %v", err)
	}
	for _, b := range [][]byte{{1}, make([]byte, 2*maxBootEntries+2)} {
		if _, err := parseBootOrder(b); !errors.Is(err, ErrBootState) {
			t.Errorf("an order of %d bytes: %v", len(b), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, bootOrderVar), []byte{7, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBootOrder(dir); !errors.Is(err, ErrBootState) {
		t.Errorf("half an attribute: %v", err)
	}
}

func FuzzBootOrder(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		order, err := parseBootOrder(b)
		if err == nil && !bytes.Equal(encodeBootOrder(order), b) && len(b) > 0 {
			t.Errorf("%x → %v", b, order)
		}
	})
}
