package delta

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// hashesOf gives blocks with the same bytes the same number; 0 is zeros.
func hashesOf(seen map[string]uint64, image []byte) []uint64 {
	var out []uint64
	for i := 0; i < len(image); i += BlockSize {
		b := string(fill(bytes.Clone(image[i:min(i+BlockSize, len(image))])))
		if b == string(make([]byte, BlockSize)) {
			out = append(out, 0)
			continue
		}
		if seen[b] == 0 {
			seen[b] = uint64(len(seen)) + 1
		}
		out = append(out, seen[b])
	}
	return out
}

// sample is an old image, a frame of the next, and the frame's record.
func sample(tb testing.TB, level Level, tail int) (old, frame []byte, r *Record) {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	old = make([]byte, 40*BlockSize+tail)
	for i := range old {
		old[i] = byte(rnd.IntN(40))
	}
	clear(old[8*BlockSize : 10*BlockSize])
	frame = append(bytes.Clone(old[5*BlockSize:12*BlockSize]), old[2*BlockSize:5*BlockSize]...)
	for i := 7 * BlockSize; i < len(frame); i += 50 {
		frame[i]++
	}
	for range 2 * BlockSize {
		frame = append(frame, byte(rnd.Uint32()))
	}
	frame = append(frame, old[36*BlockSize:]...)
	seen := map[string]uint64{}
	ho, hn := hashesOf(seen, old), hashesOf(seen, frame)
	b, err := NewBuilder(bytes.NewReader(old), int64(len(old)), ho, hn, level)
	if err != nil {
		tb.Fatal(err)
	}
	if r, err = b.NewWorker().Encode(frame, hn); err != nil {
		tb.Fatal(err)
	}
	return old, frame, r
}

func limitsOf(old, frame []byte) Limits {
	n := func(b []byte) int64 { return int64(len(b)+BlockSize-1) / BlockSize }
	return Limits{Frame: n(frame), Old: n(old), Dict: dictBlocks}
}

func TestRecord(t *testing.T) {
	for _, level := range []Level{Quick, Best} {
		for _, tail := range []int{0, 512} {
			old, frame, r := sample(t, level, tail)
			kinds := map[opKind]bool{}
			for _, o := range r.ops {
				kinds[o.kind] = true
			}
			if len(kinds) != 3 || len(r.plain) < BlockSize || len(r.pieces) == 0 {
				t.Errorf("%v: not all kinds of instruction are there: %v, %d pieces, %d plain bytes", level, kinds, len(r.pieces), len(r.plain))
			}
			b := r.Marshal()
			if len(b) > 2*BlockSize+3000 {
				t.Errorf("%v: the record has %d bytes, two blocks of which are noise", level, len(b))
			}
			got := make([]byte, len(frame)) // where the record waits, too
			parsed, err := Parse(got[:copy(got, b)], limitsOf(old, frame))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(parsed.Marshal(), b) {
				t.Errorf("%v: encoded again, the record has other bytes", level)
			}
			if err := NewMaker(bytes.NewReader(old), int64(len(old)), limitsOf(old, frame)).Make(got, parsed); err != nil || !bytes.Equal(got, frame) {
				t.Errorf("%v: made again: %v, equal: %v", level, err, bytes.Equal(got, frame))
			}
		}
	}
}

// Each is refused before memory is taken for it.
func TestAttack_DeltaRecord(t *testing.T) {
	const huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	for name, record := range map[string]string{
		"empty":                        "",
		"no instructions":              "\x00\x00",
		"more instructions than frame": "\x05",
		"huge number of instructions":  huge,
		"huge instruction":             "\x01" + huge,
		"instruction for no blocks":    "\x01\x01\x00",
		"instruction beyond the frame": "\x01\x15\x00",
		"copy behind the old image":    "\x01\x10\x0e\x00",
		"copy before the old image":    "\x01\x10\x01\x00",
		"copy from far outside":        "\x01\x10" + huge + "\x00",
		"frame not filled":             "\x01\x0d\x00",
		"number not in shortest form":  "\x01\x91\x00\x00",
		"plain bytes missing":          "\x01\x12\x00\x05code",
		"huge number of plain bytes":   "\x01\x12\x00" + huge,
		"instruction of no kind":       "\x01\x13\x00\x00code",
		"huge number of pieces":        "\x01\x11" + huge,
		"piece outside the old image":  "\x01\x12\x01\x0b\x01",
		"piece longer than the limit":  "\x01\x12\x01\x00\x07",
		"huge piece":                   "\x01\x12\x01\x00" + huge,
		"piece of no blocks":           "\x01\x12\x01\x00\x00",
		"pieces side by side":          "\x01\x12\x02\x00\x01\x00\x01",
		"dictionary for nothing":       "\x01\x11\x01\x00\x01\x00",
		"code for nothing":             "\x01\x11\x00\x00x",
	} {
		if r, err := Parse([]byte(record), Limits{Frame: 4, Old: 10, Dict: 6}); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// A record or an old image with errors gives an error or some frame, within
// the frame's bounds: its hash is the caller's business.
func TestAttack_DeltaMade(t *testing.T) {
	old, frame, r := sample(t, Quick, 0)
	good := r.Marshal()
	rnd := rand.New(rand.NewPCG(5, 6))
	m := NewMaker(bytes.NewReader(old), int64(len(old)), limitsOf(old, frame))
	room := make([]byte, len(frame)+BlockSize)
	for range 2000 {
		b := bytes.Clone(good)
		for range 1 + rnd.IntN(3) {
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		b = b[:len(b)-rnd.IntN(2)*rnd.IntN(len(b))]
		rec, err := Parse(b, limitsOf(old, frame))
		if err != nil {
			continue
		}
		copy(room[len(frame):], "untouched")
		_ = m.Make(room[:len(frame)], rec)
		if !bytes.HasPrefix(room[len(frame):], []byte("untouched")) {
			t.Fatal("written beyond the frame")
		}
	}
	short := NewMaker(bytes.NewReader(old[:BlockSize]), int64(len(old)), limitsOf(old, frame))
	rec, err := Parse(good, limitsOf(old, frame))
	if err != nil {
		t.Fatal(err)
	}
	if err := short.Make(make([]byte, len(frame)), rec); !errors.Is(err, ErrSource) {
		t.Errorf("from an old image that is too short: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	old, frame, r := sample(f, Quick, 512)
	f.Add(r.Marshal())
	f.Add([]byte("\x01\x4e\x01\x00\x02\x00codecode"))
	f.Add([]byte("\x02\x05\x08\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := Parse(b, limitsOf(old, frame))
		if err != nil {
			return
		}
		if !bytes.Equal(rec.Marshal(), b) {
			t.Error("encoded again, the record has other bytes")
		}
		_ = NewMaker(bytes.NewReader(old), int64(len(old)), limitsOf(old, frame)).Make(make([]byte, len(frame)), rec)
	})
}

// TestUpgradedInPlace codes an image whose changed files got other blocks, and
// whose old ones are still there.
func TestUpgradedInPlace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	old := make([]byte, 80*BlockSize)
	for i := range old[:40*BlockSize] {
		old[i] = byte(rnd.Uint32())
	}
	image := bytes.Clone(old)
	copy(image[40*BlockSize:], old[:40*BlockSize])
	for i := 40 * BlockSize; i < len(image); i += 300 {
		image[i]++
	}
	seen := map[string]uint64{}
	ho, hn := hashesOf(seen, old), hashesOf(seen, image)
	for _, level := range []Level{Quick, Best} {
		b, err := NewBuilder(bytes.NewReader(old), int64(len(old)), ho, hn, level)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.NewWorker().Encode(image, hn)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.Marshal()); n > 2*BlockSize {
			t.Errorf("%v: the record has %d bytes, and the image 40 blocks with few changes", level, n)
		}
	}
}
