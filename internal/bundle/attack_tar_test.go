package bundle

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestAttack_EntryExtra(t *testing.T) {
	// A file that the manifest does not cover, in every place.
	f := newFixture(t, nil)
	good := entries(t, f.bytes(t))
	for i := range len(good) + 1 {
		list := append([]entry{}, good[:i]...)
		list = append(list, entry{"extra", []byte("x")})
		list = append(list, good[i:]...)
		refused(t, assemble(t, list), f.ring, ErrFormat)
	}
}

func TestAttack_EntryMissing(t *testing.T) {
	f := newFixture(t, nil)
	good := entries(t, f.bytes(t))
	for i := range good {
		list := append([]entry{}, good[:i]...)
		refused(t, assemble(t, append(list, good[i+1:]...)), f.ring, ErrFormat)
	}
}

func TestAttack_EntryTwice(t *testing.T) {
	f := newFixture(t, nil)
	good := entries(t, f.bytes(t))
	for i := range good {
		list := append([]entry{}, good[:i+1]...)
		refused(t, assemble(t, append(list, good[i:]...)), f.ring, ErrFormat)
	}
	refused(t, assemble(t, append(append([]entry{}, good...), good...)), f.ring, ErrFormat)
}

func TestAttack_EntryOutOfOrder(t *testing.T) {
	f := newFixture(t, nil)
	good := entries(t, f.bytes(t))
	for i := range len(good) - 1 {
		list := append([]entry{}, good...)
		list[i], list[i+1] = list[i+1], list[i]
		refused(t, assemble(t, list), f.ring, ErrFormat)
	}
}

func TestAttack_EntryName(t *testing.T) {
	f := newFixture(t, nil)
	for i, e := range entries(t, f.bytes(t)) {
		for _, name := range []string{strings.ToUpper(e.name), "./" + e.name, "/" + e.name, "../" + e.name, e.name + "/", e.name + " ", ""} {
			list := entries(t, f.bytes(t))
			list[i].name = name
			refused(t, assemble(t, list), f.ring, ErrFormat)
		}
	}
}

func TestAttack_PathInImageName(t *testing.T) {
	for _, name := range []string{"../etc/passwd", "/dev/sda", "root/fs", "Rootfs", "root.fs", "", "root\\u0000fs", strings.Repeat("a", 33)} {
		attack(t, ErrFormat, func(f *fixture, list []entry) []entry {
			return resign(t, f, list, `"name":"rootfs"`, `"name":"`+name+`"`)
		})
	}
}

func TestAttack_TrailingData(t *testing.T) {
	f := newFixture(t, nil)
	good := f.bytes(t)
	refused(t, append(bytes.Clone(good), 0), f.ring, ErrFormat)
	refused(t, append(bytes.Clone(good), make([]byte, 512)...), f.ring, ErrFormat)
	refused(t, append(bytes.Clone(good), good...), f.ring, ErrFormat)
}

func TestAttack_CutShort(t *testing.T) {
	f := newFixture(t, nil)
	good := f.bytes(t)
	for n := 0; n < len(good); n += 97 {
		refused(t, good[:n], f.ring, ErrFormat)
	}
	refused(t, good[:len(good)-1], f.ring, ErrFormat)
}

func TestAttack_SizeBeyondDeclared(t *testing.T) {
	for _, suffix := range []string{framesSuffix, blocksSuffix, zstSuffix} {
		for _, delta := range []int{-8, -1, 1, 8, 4096} {
			attack(t, ErrFormat, func(_ *fixture, list []entry) []entry {
				e := find(t, list, "rootfs"+suffix)
				e.data = append(bytes.Clone(e.data), make([]byte, 4096)...)[:len(e.data)+delta]
				return list
			})
		}
	}
	for _, name := range []string{KeyringsName, ManifestName} {
		attack(t, ErrFormat, func(_ *fixture, list []entry) []entry {
			e := find(t, list, name)
			e.data = append(bytes.Clone(e.data), bytes.Repeat([]byte(" "), MaxManifest)...)
			return list
		})
	}
}

// TestAttack_TarHeader: every field that GNU tar would tolerate.
func TestAttack_TarHeader(t *testing.T) {
	f := newFixture(t, nil)
	good := f.bytes(t)
	for _, change := range []func(h []byte){
		func(h []byte) { copy(h[100:], "0000755\x00") },               // mode
		func(h []byte) { copy(h[136:], "00000000000\x00") },           // time
		func(h []byte) { h[156] = '2'; copy(h[157:], "/etc/passwd") }, // a symlink
		func(h []byte) { h[156] = 'L' },                               // a GNU long name
		func(h []byte) { h[156] = 'x' },                               // a pax header
		func(h []byte) { copy(h[257:], "ustar  \x00") },               // GNU magic
		func(h []byte) { copy(h[265:], "root") },                      // a user name
		func(h []byte) { copy(h[345:], "etc") },                       // a name prefix
		func(h []byte) { h[511] = 1 },                                 // behind the fields
		func(h []byte) {
			n, _ := parseTarSize(h[124:136])
			h[124] = 0x80
			clear(h[125:128])
			binary.BigEndian.PutUint64(h[128:], uint64(n))
		}, // base-256 of a small size
		func(h []byte) { copy(h[124:], bytes.Repeat([]byte{0xff}, 12)) }, // a negative size
		func(h []byte) { copy(h[124:], "77777777777\x00") },              // nearly 8 GiB
		func(h []byte) { copy(h[124:], "          2\x00") },              // spaces for zeros
	} {
		b := bytes.Clone(good)
		change(b[:512])
		checksum(b[:512])
		refused(t, b, f.ring, ErrFormat)
	}
}

func checksum(h []byte) {
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	for i := range 6 {
		h[148+5-i] = byte('0' + sum>>(3*i)&7)
	}
	h[154], h[155] = 0, ' '
}

func TestAttack_DecompressionBomb(t *testing.T) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(t, err)
	streamed := func(n int) []byte { // a frame that does not state its size
		var buf bytes.Buffer
		w, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(MinFrameSize))
		must(t, err)
		_, err = w.Write(bytes.Repeat([]byte("x"), n))
		must(t, err)
		must(t, w.Close())
		return buf.Bytes()
	}
	want := bytes.Repeat([]byte("x"), MinFrameSize)
	small := z.EncodeAll(want, nil)
	d, err := NewDecoder(MinFrameSize)
	must(t, err)
	for name, compressed := range map[string][]byte{
		"states a large size": z.EncodeAll(make([]byte, 16<<20), nil),
		"states no size":      streamed(16 << 20),
		"two frames":          append(bytes.Clone(small), small...),
		"one byte more":       z.EncodeAll(append(bytes.Clone(want), 'x'), nil),
		"one byte less":       z.EncodeAll(want[1:], nil),
		"large window":        largeWindow(t, want),
		"nothing":             {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, // a skippable frame
		"no zstd":             []byte("hello"),
	} {
		f := Frame{Len: MinFrameSize, SHA256: digest(want), CompressedLen: len(compressed), CompressedSHA256: digest(compressed)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, err := d.Decode(nil, f, compressed)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: gave %d bytes", name, len(out))
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes of memory were used", name, n)
		}
	}
	f := Frame{Len: MinFrameSize, SHA256: digest(want), CompressedLen: len(small), CompressedSHA256: digest(small)}
	if _, err := d.Decode(nil, f, small); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// largeWindow makes a frame that asks for a window of 128 MiB.
func largeWindow(t *testing.T, data []byte) []byte {
	t.Helper()
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3} // no content size; window 2^(10+17)
	block := uint32(1) | uint32(len(data))<<3          // last, raw
	b = append(b, byte(block), byte(block>>8), byte(block>>16))
	return append(b, data...)
}

func TestAttack_HugeFrameCount(t *testing.T) {
	x := &FrameIndex{ImageSize: MinFrameSize, FrameSize: MinFrameSize, Frames: []Frame{{Len: MinFrameSize, CompressedLen: 9}}}
	good := x.Marshal()
	if _, err := ParseFrames(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(b []byte){
		func(b []byte) { binary.LittleEndian.PutUint32(b[20:], 1<<32-1) },
		func(b []byte) { binary.LittleEndian.PutUint64(b[8:], 1<<63) },
		func(b []byte) { binary.LittleEndian.PutUint64(b[8:], maxImageSize) },
		func(b []byte) { binary.LittleEndian.PutUint32(b[16:], 0) },
		func(b []byte) { binary.LittleEndian.PutUint32(b[16:], 512) },
		func(b []byte) { binary.LittleEndian.PutUint64(b[24:], 1<<63) },
		func(b []byte) { binary.LittleEndian.PutUint32(b[len(b)-4:], 1<<32-1) },
		func(b []byte) { binary.LittleEndian.PutUint32(b[len(b)-4:], 0) },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := ParseFrames(b); err == nil {
			t.Errorf("accepted % x", b[:32])
		}
	}
}
