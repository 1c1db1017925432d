package delta

import "math"

// prob is an adaptive probability that a bit is 1: 22 bits of it, and below
// them how often it was updated, up to its limit. The first updates move it
// far, later ones little.
type prob uint32

const probInit prob = 1 << 31

// Limits of the update count: low where statistics change, as in literals.
const (
	limitFlag    = 250
	limitLiteral = 120
)

// reciprocal[n] is 65536/(n+1.5).
var reciprocal = func() (t [256]int64) {
	for n := range t {
		t[n] = int64(65536 / (float64(n) + 1.5))
	}
	return t
}()

func (p *prob) update(bit int, limit uint32) {
	n := uint32(*p) & 1023
	v := int64(*p >> 10)
	v += (int64(bit)*(1<<22-1) - v) * reciprocal[n] >> 16
	if n < limit {
		n++
	}
	*p = prob(uint32(v)<<10 | n)
}

func (p prob) p16() uint32 { return max(uint32(p)>>16, 1) }

// Probabilities are mixed in the logistic domain: stretch(p) = ln(p/(1-p)),
// in 1/256, of a probability in 1/4096; squash is its inverse.
var (
	stretchTable = func() (t [4096]int32) {
		for i := range t {
			p := (float64(i) + 0.5) / 4096
			t[i] = int32(math.Round(256 * math.Log(p/(1-p))))
		}
		return t
	}()
	squashTable = func() (t [4096]uint16) {
		for i := range t {
			p := 1 / (1 + math.Exp(-float64(i-2048)/256))
			t[i] = uint16(min(max(math.Round(65536*p), 24), 65536-24))
		}
		return t
	}()
)

// squash returns a probability in 1/65536.
func squash(x int32) uint32 {
	return uint32(squashTable[min(max(x+2048, 0), 4095)])
}

const mixInputs = 5

// weights of a mixer, 1/65536.
type weights [mixInputs]int32

// mixed codes a bit with the mixture of n models; ps[n:] are not used.
func (c *codec) mixed(bit int, ps *[mixInputs]*prob, n int, w *weights, limit uint32) int {
	var in [mixInputs]int32
	var dot int64
	for i := 0; i < n; i++ {
		in[i] = stretchTable[*ps[i]>>20]
		dot += int64(in[i]) * int64(w[i])
	}
	p := squash(int32(dot >> 16))
	bit = c.rc.code(bit, p)
	err := int32(bit)*65535 - int32(p)
	for i := 0; i < n; i++ {
		w[i] += int32((int64(in[i])*int64(err) + 1<<13) >> 14)
		ps[i].update(bit, limit)
	}
	return bit
}
