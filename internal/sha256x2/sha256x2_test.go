package sha256x2

import (
	stdlib "crypto/sha256"
	"hash"
	"math/rand/v2"
	"testing"

	"github.com/minio/sha256-simd"
)

// The standard library judges, whatever the lengths of the messages.
func TestSum(t *testing.T) {
	if !twice {
		t.Log("this processor has no SHA instructions")
	}
	src := rand.NewChaCha8([32]byte{1})
	message := make([]byte, 4096)
	_, _ = src.Read(message)
	for a := range 300 {
		for _, b := range []int{0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 200, 4000, a, a + 1, a + 64} {
			ma, mb := message[:a], message[1:][:b]
			gotA, gotB := Sum(ma, mb)
			if gotA != stdlib.Sum256(ma) || gotB != stdlib.Sum256(mb) {
				t.Fatalf("lengths %d and %d: another hash than the standard library's", a, b)
			}
		}
	}
}

// Two messages in pieces are two messages.
func TestWrite(t *testing.T) {
	src := rand.New(rand.NewPCG(1, 2))
	message := make([]byte, 1<<16)
	for i := range message {
		message[i] = byte(src.Uint32())
	}
	for range 500 {
		h, from := New(), [2]int{src.IntN(64), src.IntN(64)}
		to := from
		for range src.IntN(6) {
			var m [2][]byte
			for i := range m {
				n := 64 * src.IntN(40)
				m[i] = message[to[i]:][:n]
				to[i] += n
			}
			h.Write(m[0], m[1])
		}
		end := [2]int{src.IntN(200), src.IntN(200)}
		h.Write(message[to[0]:][:end[0]], message[to[1]:][:end[1]])
		a, b := h.Sum()
		wantA, wantB := stdlib.Sum256(message[from[0]:to[0]+end[0]]), stdlib.Sum256(message[from[1]:to[1]+end[1]])
		if a != wantA || b != wantB {
			t.Fatalf("bytes %v to %v and %v more: another hash than the standard library's", from, to, end)
		}
	}
}

// Without the instructions the library's hash does the same.
func TestPlain(t *testing.T) {
	h := &Hash{plain: [2]hash.Hash{sha256.New(), sha256.New()}}
	h.Write([]byte("abc"), nil)
	a, b := h.Sum()
	if a != stdlib.Sum256([]byte("abc")) || b != stdlib.Sum256(nil) {
		t.Error("another hash than the standard library's")
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte("abc"), []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		gotA, gotB := Sum(a, b)
		if gotA != stdlib.Sum256(a) || gotB != stdlib.Sum256(b) {
			t.Error("another hash than the standard library's")
		}
	})
}

func BenchmarkSum(b *testing.B) {
	m := make([]byte, 2<<20)
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		Sum(m[:1<<20], m[1<<20:])
	}
}

func BenchmarkLibrary(b *testing.B) {
	m := make([]byte, 2<<20)
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		h := sha256.New()
		h.Write(m)
		h.Sum(nil)
	}
}
