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
