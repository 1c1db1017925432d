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

// TestDecodersAgree lets both ways to decode do the same, with contexts that have
// seen nothing, little, and much, two that are one, and a code that ends.
func TestDecodersAgree(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX2: there is only one way") // TestRoundTrip goes that way then
	}
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
			got, want := wideNibble(&mine, &a[i], &a[k]), wordsNibble(&other, &b[i], &b[k])
			if got != want || mine.x != other.x || mine.at != other.at || a != b {
				t.Fatalf("step %d: %d and %+v, want %d and %+v\n%x\n%x", step, got, mine, want, other, a, b)
			}
		}
	}
	// Literals, other tokens, and both in turn: the states end up alike for any input.
	type contexts struct {
		tokens [3]nibbles
		p, o   [2][17]nibbles
	}
	var a contexts
	for i := range a.tokens {
		a.tokens[i] = unseen
	}
	for i := range a.p[0] {
		a.p[0][i], a.p[1][i], a.o[0][i], a.o[1][i] = unseen, unseen, unseen, unseen
	}
	b := a
	literals := 0
	for range 200 {
		in := make([]byte, 400)
		for i := range in {
			in[i] = byte(r.IntN(1 << (i / 50)))
		}
		var mine, other coder
		mine.startDecoding(in)
		other.startDecoding(in)
		for range 500 {
			i, k, n := r.IntN(3), r.IntN(3), r.IntN(2)
			got := wideSymbol(&mine, &a.tokens[i], &a.tokens[k], &a.p[n], &a.o[n])
			want := wordsSymbol(&other, &b.tokens[i], &b.tokens[k], &b.p[n], &b.o[n])
			if got != want || mine.x != other.x || mine.at != other.at || a != b {
				t.Fatalf("%#x and %+v, want %#x and %+v", got, mine, want, other)
			}
			if got&15 == tokenLiteral {
				literals++
			}
		}
	}
	if literals < 1000 || literals > 99000 {
		t.Fatalf("%d of 100000 symbols are literals: the other kind was not tested", literals)
	}
}
