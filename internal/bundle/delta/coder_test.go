package delta

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := new(model)
	e := &encoder{m: new(model), effort: best}
	for _, size := range []int{0, 1, 7, 8, 9, 100, 5000, 70000} {
		dict := make([]byte, size)
		for i := range dict {
			dict[i] = byte(r.IntN(1 + r.IntN(256)))
		}
		text := append(bytes.Clone(dict), dict...)
		for range len(text) / 20 {
			text[r.IntN(len(text))]++
		}
		for _, start := range []int{0, len(dict)} {
			window := append(bytes.Clone(dict[:start]), text...)
			plain, code := e.encode(window, start)
			got := append(bytes.Clone(window[:start]), make([]byte, len(text))...)
			if err := decode(m, got, start, plain, code); err != nil || !bytes.Equal(got, window) {
				t.Fatalf("size %d, dictionary %d: %v, equal: %v", size, start, err, bytes.Equal(got, window))
			}
		}
	}
}

// TestDecodersAgree lets both ways to decode a nibble do the same, with contexts
// that have seen nothing, little, and much, two that are one, and a code that
// ends.
func TestDecodersAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		in := make([]byte, r.IntN(64))
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		var mine, other coder
		mine.startDecoding(in)
		other.startDecoding(in)
		mine.x |= lowest
		other.x |= lowest
		a, b := [3]nibbles{unseen, unseen, unseen}, [3]nibbles{unseen, unseen, unseen}
		for step := range r.IntN(300) {
			i, k := r.IntN(3), r.IntN(3)
			got, want := decodeNibble(&mine, &a[i], &a[k]), decodeWords(&other, &b[i], &b[k])
			if got != want || mine.x != other.x || mine.at != other.at || a != b {
				t.Fatalf("step %d: %d and %+v, want %d and %+v\n%x\n%x", step, got, mine, want, other, a, b)
			}
		}
	}
	var p, o [2][17]nibbles
	for i := range p[0] {
		p[0][i], p[1][i], o[0][i], o[1][i] = unseen, unseen, unseen, unseen
	}
	in := make([]byte, 4000)
	for i := range in {
		in[i] = byte(r.IntN(1 << (i / 500)))
	}
	var mine, other coder
	mine.startDecoding(in)
	other.startDecoding(in)
	for range 5000 {
		got := decodePair(&mine, &p[0], &p[1])
		high := decodeWords(&other, &o[0][0], &o[1][0])
		want := high<<4 | decodeWords(&other, &o[0][1+high], &o[1][1+high])
		if got != want || mine.x != other.x || mine.at != other.at || p != o {
			t.Fatalf("%d and %+v, want %d and %+v", got, mine, want, other)
		}
	}
}
