// Package sha256x2 hashes two messages at once, which takes little longer than
// one: the SHA instructions of a processor give their results late, and those
// of a second message run in the meantime. Where there are no such
// instructions it is as fast as sha256-simd.
package sha256x2

import (
	"encoding/binary"
	"hash"

	"github.com/minio/sha256-simd"
)

const blockSize = sha256.BlockSize

// Hash is the SHA-256 of two messages: FIPS 180-4. Its zero value is not ready.
type Hash struct {
	states  [2][8]uint32
	lengths [2]uint64
	tails   [2][2 * blockSize]byte // what is left of a message, and its padding
	plain   [2]hash.Hash           // in place of all that, without the instructions
}

// New returns the hash of two empty messages.
func New() *Hash {
	if !twice {
		return &Hash{plain: [2]hash.Hash{sha256.New(), sha256.New()}}
	}
	// The state before the first block: section 5.3.3.
	s := [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
	return &Hash{states: [2][8]uint32{s, s}}
}

// Sum returns the hashes of two messages.
func Sum(a, b []byte) (sumA, sumB [sha256.Size]byte) {
	h := New()
	h.Write(a, b)
	return h.Sum()
}

// Write appends to both messages. To a message that got bytes that are not
// whole blocks of 64 nothing can be appended any more. Where one is longer
// than the other, the rest of it takes as long as alone.
func (h *Hash) Write(a, b []byte) {
	if h.plain[0] != nil {
		h.plain[0].Write(a)
		h.plain[1].Write(b)
		return
	}
	n := min(len(a), len(b)) / blockSize
	if n > 0 {
		blocks2(&h.states, &a[0], &b[0], n)
	}
	for i, m := range [2][]byte{a, b} {
		if len(m) > 0 && h.lengths[i]%blockSize != 0 {
			panic("sha256x2: bytes after a part of a block")
		}
		h.lengths[i] += uint64(len(m))
		rest := m[n*blockSize:]
		h.alone(i, rest)
		copy(h.tails[i][:], rest[len(rest)-len(rest)%blockSize:])
	}
}

// alone does the whole blocks at the beginning of m for one message.
func (h *Hash) alone(i int, m []byte) {
	if n := len(m) / blockSize; n > 0 {
		states := [2][8]uint32{h.states[i]}
		blocks2(&states, &m[0], &m[0], n)
		h.states[i] = states[0]
	}
}

// Sum ends both messages and returns their hashes. Nothing can be done with h
// afterwards.
func (h *Hash) Sum() (sumA, sumB [sha256.Size]byte) {
	if h.plain[0] != nil {
		return [sha256.Size]byte(h.plain[0].Sum(nil)), [sha256.Size]byte(h.plain[1].Sum(nil))
	}
	var sums [2][sha256.Size]byte
	for i := range sums {
		// A bit, zeros, and the length in bits: section 5.1.1.
		tail, n := &h.tails[i], int(h.lengths[i]%blockSize)
		end := blockSize
		if n >= blockSize-8 {
			end *= 2
		}
		clear(tail[n:end])
		tail[n] = 0x80
		binary.BigEndian.PutUint64(tail[end-8:], h.lengths[i]*8)
		h.alone(i, tail[:end])
		for k, w := range h.states[i] {
			binary.BigEndian.PutUint32(sums[i][4*k:], w)
		}
	}
	return sums[0], sums[1]
}
