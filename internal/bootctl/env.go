package bootctl

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/abupdate/abupdate/internal/slot"
)

// EnvSize is the length in bytes of each copy of the boot state: one sector,
// the unit that a disk writes whole or not at all.
const EnvSize = 512

// envKeys are the lines of the boot state in their order. ab_fmt comes first
// and ab_end last, so that GRUB takes a cut-off block for a broken one.
// Whatever GRUB's save_env changes keeps its width.
var envKeys = []string{
	"ab_fmt", "ab_seq", "ab_pri",
	"ab_a_ok", "ab_a_try", "ab_b_ok", "ab_b_try", "ab_b_kind",
	"ab_mig", "ab_end",
}

const (
	envFormat = "1"
	seqDigits = 10 // of the largest uint32
)

// Encode returns the boot state as GRUB reads it, EnvSize bytes. It panics on
// a state that Validate refuses.
func (s State) Encode() []byte {
	if err := s.Validate(); err != nil {
		panic("internal error: encoding the boot state: " + err.Error())
	}
	values := []string{
		envFormat, fmt.Sprintf("%0*d", seqDigits, s.Seq), s.Primary.String(),
		bit(s.A.OK), strconv.Itoa(s.A.Tries), bit(s.B.OK), strconv.Itoa(s.B.Tries), s.BKind.String(),
		bit(s.Migrate), envFormat,
	}
	pairs := make([]pair, len(envKeys))
	for i, key := range envKeys {
		pairs[i] = pair{key, values[i]}
	}
	b, ok := encodeBlock(EnvSize, pairs)
	if !ok {
		panic("internal error: the boot state does not fit its sector")
	}
	return b
}

// ParseEnv reads a boot state. It is strict: what it accepts, Encode gives
// back byte for byte.
func ParseEnv(b []byte) (State, error) {
	s, err := parseEnv(b)
	if err != nil {
		return State{}, fmt.Errorf("parsing the boot state: %w", err)
	}
	return s, nil
}

func parseEnv(b []byte) (s State, err error) {
	if len(b) != EnvSize {
		return s, fmt.Errorf("%d bytes long, not %d", len(b), EnvSize)
	}
	v, err := parseBlock(b, envKeys)
	if err != nil {
		return s, err
	}
	if v[0] != envFormat || v[9] != envFormat {
		return s, fmt.Errorf("format %.20q to %.20q is unknown, this program knows %q", v[0], v[9], envFormat)
	}
	var errs [8]error
	s.Seq, errs[0] = parseSeq(v[1])
	s.Primary, errs[1] = slot.Parse(v[2])
	s.A.OK, errs[2] = parseBit(v[3])
	s.A.Tries, errs[3] = parseTries(v[4])
	s.B.OK, errs[4] = parseBit(v[5])
	s.B.Tries, errs[5] = parseTries(v[6])
	s.BKind, errs[6] = parseKind(v[7])
	s.Migrate, errs[7] = parseBit(v[8])
	return s, errors.Join(errs[:]...)
}

func parseSeq(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || len(text) != seqDigits || n == 0 {
		return 0, fmt.Errorf("sequence number %.20q: must be %d digits, from 1", text, seqDigits)
	}
	return uint32(n), nil
}

func parseTries(text string) (int, error) {
	if len(text) != 1 || text[0] < '0' || text[0] > '9' {
		return 0, fmt.Errorf("tries %.20q: must be one digit", text)
	}
	return int(text[0] - '0'), nil
}

func parseBit(text string) (bool, error) {
	if text != "0" && text != "1" {
		return false, fmt.Errorf("flag %.20q: must be 0 or 1", text)
	}
	return text == "1", nil
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
