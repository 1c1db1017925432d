package devmapper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

// TestTable compares with struct dm_target_spec as C lays it out for
// "0 8 linear 8:16 2048" and a second line behind it.
func TestTable(t *testing.T) {
	got, err := encodeTable(8, 16, []Segment{{2048, 8}, {1 << 33, 24}})
	if err != nil {
		t.Fatal(err)
	}
	spec := func(start, length uint64, next uint32, params string) []byte {
		b := make([]byte, next)
		binary.NativeEndian.PutUint64(b, start)
		binary.NativeEndian.PutUint64(b[8:], length)
		binary.NativeEndian.PutUint32(b[20:], next)
		copy(b[24:], "linear")
		copy(b[40:], params)
		return b
	}
	want := append(spec(0, 8, 56, "8:16 2048"), spec(8, 24, 56, "8:16 8589934592")...)
	if !bytes.Equal(got, want) {
		t.Errorf("table\n% x, want\n% x", got, want)
	}
}

// TestIoctlNumbers: DM_DEV_CREATE and DM_TABLE_LOAD of linux/dm-ioctl.h as gcc
// computes them.
func TestIoctlNumbers(t *testing.T) {
	for cmd, want := range map[uint]uint{cmdCreate: 0xC138FD03, cmdRemove: 0xC138FD04, cmdSuspend: 0xC138FD06, cmdLoad: 0xC138FD09} {
		if got := ioctlNumber(cmd); got != want {
			t.Errorf("command %d is %#x, want %#x", cmd, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, name := range []string{"", "a/b", "ab old", string(make([]byte, 128))} {
		if _, err := Create(name, os.DevNull, []Segment{{0, 8}}, true); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	for _, segments := range [][]Segment{nil, {{-1, 8}}, {{0, 0}}} {
		if _, err := encodeTable(8, 0, segments); err == nil {
			t.Errorf("segments %v were accepted", segments)
		}
	}
	if _, err := Create("ab", os.DevNull, []Segment{{0, 8}}, true); err == nil {
		t.Error("a character device was taken for a disk")
	}
	if _, err := Create("ab", "/missing", []Segment{{0, 8}}, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no disk: %v", err)
	}
}
