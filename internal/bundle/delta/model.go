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
	n := uint32(*p) & 255 // never more
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

// weights of a mixer, 1/65536.
type (
	weights2 [2]int32
	weights5 [5]int32
)

// mixed2 codes a bit with the mixture of two models.
func (c *codec) mixed2(bit int, p0, p1 *prob, w *weights2) int {
	s0, s1 := stretchTable[uint32(*p0)>>20], stretchTable[uint32(*p1)>>20]
	p := squash(int32((int64(s0)*int64(w[0]) + int64(s1)*int64(w[1])) >> 16))
	bit = c.rc.code(bit, p)
	err := int64(int32(bit)*65535 - int32(p))
	w[0] += learn(s0, err)
	w[1] += learn(s1, err)
	p0.update(bit, limitFlag)
	p1.update(bit, limitFlag)
	return bit
}

// mixed5 codes a bit of a literal with the mixture of five models. Written
// out, because most of the time of a decoder goes by here.
func (c *codec) mixed5(bit int, p0, p1, p2, p3, p4 *prob, w *weights5) int {
	s0, s1, s2 := stretchTable[uint32(*p0)>>20], stretchTable[uint32(*p1)>>20], stretchTable[uint32(*p2)>>20]
	s3, s4 := stretchTable[uint32(*p3)>>20], stretchTable[uint32(*p4)>>20]
	dot := int64(s0)*int64(w[0]) + int64(s1)*int64(w[1]) + int64(s2)*int64(w[2]) + int64(s3)*int64(w[3]) + int64(s4)*int64(w[4])
	p := squash(int32(dot >> 16))
	bit = c.rc.code(bit, p)
	err := int64(int32(bit)*65535 - int32(p))
	w[0] += learn(s0, err)
	w[1] += learn(s1, err)
	w[2] += learn(s2, err)
	w[3] += learn(s3, err)
	w[4] += learn(s4, err)
	p0.update(bit, limitLiteral)
	p1.update(bit, limitLiteral)
	p2.update(bit, limitLiteral)
	p3.update(bit, limitLiteral)
	p4.update(bit, limitLiteral)
	return bit
}

// learn is the change of a weight whose input was s, after an error.
func learn(s int32, err int64) int32 { return int32((int64(s)*err + 1<<13) >> 14) }
