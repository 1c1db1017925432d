package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func words(w ...uint64) []byte {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func TestScanBlocks(t *testing.T) {
	const size = 5 * BlockSize
	magic := binary.LittleEndian.Uint64([]byte(blocksMagic))
	for name, c := range map[string]struct {
		b  []byte
		ok bool
	}{
		"blocks":              {words(magic, size, 1, 2, 3, 4, 5), true},
		"one run":             {words(magic, size, 0, 5), true},
		"runs":                {words(magic, size, 0, 1, 7, 0, 2, 8), true},
		"nothing":             {nil, false},
		"magic only":          {words(magic), false},
		"other magic":         {words(magic+1, size, 0, 5), false},
		"other size":          {words(magic, size+1, 0, 5), false},
		"too few":             {words(magic, size, 0, 4), false},
		"too many":            {words(magic, size, 0, 5, 1), false},
		"run too long":        {words(magic, size, 0, 6), false},
		"run of none":         {words(magic, size, 0, 0, 0, 5), false},
		"run without length":  {words(magic, size, 1, 2, 3, 4, 0), false},
		"two runs in a row":   {words(magic, size, 0, 2, 0, 3), false},
		"run of 2^64-1":       {words(magic, size, 0, 1<<64-1), false},
		"half a word":         {words(magic, size, 0, 5)[:28], false},
		"half a word at last": {append(words(magic, size, 0, 5), 1, 2), false},
	} {
		// In pieces of every size: words are split at any place.
		for piece := 1; piece < 20; piece++ {
			p := &blockParser{imageSize: size}
			for b := c.b; len(b) > 0; {
				n := min(piece, len(b))
				_, _ = p.Write(b[:n])
				b = b[n:]
			}
			if err := p.finish(); (err == nil) != c.ok {
				t.Errorf("%s in pieces of %d: %v", name, piece, err)
			}
		}
		err := ScanBlocks(bytes.NewReader(c.b), size, nil)
		if (err == nil) != c.ok || (!c.ok && !errors.Is(err, ErrFormat)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHashBlock(t *testing.T) {
	if h := HashBlock(make([]byte, BlockSize)); h != 0 {
		t.Errorf("zeros: %x", h)
	}
	short := []byte("short")
	padded := make([]byte, BlockSize)
	copy(padded, short)
	if HashBlock(short) != HashBlock(padded) {
		t.Error("padding makes a difference")
	}
}

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 511, len(zeros), len(zeros) + 1, 3*len(zeros) + 7} {
		b := make([]byte, n)
		if !isZero(b) {
			t.Errorf("%d zeros are not zero", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if n == 0 {
				continue
			}
			b[i] = 1
			if isZero(b) {
				t.Errorf("%d bytes with a 1 at %d are zero", n, i)
			}
			b[i] = 0
		}
	}
}
