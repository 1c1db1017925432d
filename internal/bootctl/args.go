package bootctl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
)

const (
	// ArgsSize is the length in bytes of an args block.
	ArgsSize = 4096
	// MaxArgs bounds the kernel arguments of an args block, both kinds
	// together: the kernel of x86 takes 2047 bytes and cuts the rest off
	// silently, and grub.cfg adds up to 300 of its own.
	MaxArgs = 1536
)

var argsKeys = []string{"ab_fmt", "ab_args", "ab_image_args", "ab_end"}

// ErrInvalid is returned for an args block that is not valid: its system is
// not complete, and GRUB does not boot it.
var ErrInvalid = errors.New("no valid args block")

// Args are the kernel arguments of one system. GRUB puts Image first and
// Device last, so the device's word is the last.
type Args struct {
	// Device holds what belongs to this machine (console, network names). It
	// is carried from slot to slot.
	Device string
	// Image holds what the image's manifest asks for.
	Image string
}

// dataWord begins the kernel argument that tells the system which partition is
// for customers' data. It is the one word with the boot loader's prefix that
// an args block may have.
const dataWord = cmdlinePrefix + "data="

// DataArg is the kernel argument for a data partition that starts at byte start
// of the disk. The PARTUUID alone would not do: with an MBR it is made of the
// partition's number, and in the trial of a migration that may be the number
// of a partition of the old system, which must not be mounted for data.
func DataArg(partUUID string, start int64) string {
	return fmt.Sprintf("%s%s@%d", dataWord, partUUID, start/blockdev.SectorSize)
}

// Validate returns an error for arguments that would not reach the kernel as
// they are, or that would break the boot of system s.
func (a Args) Validate(s System) error {
	if n := len(a.Device) + len(a.Image); n > MaxArgs {
		return fmt.Errorf("kernel arguments of %d bytes, at most %d fit", n, MaxArgs)
	}
	for _, text := range [...]string{a.Device, a.Image} {
		if i := strings.IndexFunc(text, func(r rune) bool { return !plain(r) }); i >= 0 {
			return fmt.Errorf("kernel arguments contain %q, which GRUB cannot hand on", text[i])
		}
		for _, word := range strings.Fields(text) {
			if err := checkWord(word, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkWord refuses arguments that only grub.cfg may give: the kernel takes
// the last of several root=, and with another one the slot would run on the
// other slot's files.
func checkWord(word string, s System) error {
	if place, ok := strings.CutPrefix(word, dataWord); ok {
		// For user space only: GRUB and the kernel make nothing of it.
		id, start, _ := strings.Cut(place, "@")
		_, err := parseLBA(start)
		if id == "" || len(id) > 36 || strings.Trim(id, "0123456789abcdef-") != "" || err != nil {
			return fmt.Errorf("kernel argument %q: no PARTUUID@SECTOR", word)
		}
		return nil
	}
	if strings.HasPrefix(word, cmdlinePrefix) {
		return fmt.Errorf("kernel argument %q: names that begin with %q are the boot loader's", word, cmdlinePrefix)
	}
	if _, isSlot := s.Slot(); isSlot && (strings.HasPrefix(word, "root=") || strings.HasPrefix(word, "initrd=")) {
		return fmt.Errorf("kernel argument %q: the boot loader gives it to slot %v", word, s)
	}
	return nil
}

// encode returns the args block, ArgsSize bytes, of arguments that Validate
// has accepted.
func (a Args) encode() []byte {
	b, ok := encodeBlock(ArgsSize, []pair{
		{"ab_fmt", envFormat},
		{"ab_args", a.Device},
		{"ab_image_args", a.Image},
		{"ab_end", envFormat},
	})
	if !ok {
		panic("internal error: the kernel arguments do not fit their block")
	}
	return b
}

// ParseArgs reads the args block of system s. It is strict: what it accepts,
// encoding gives back byte for byte.
func ParseArgs(b []byte, s System) (Args, error) {
	if len(b) != ArgsSize {
		return Args{}, fmt.Errorf("%w: %d bytes long, not %d", ErrInvalid, len(b), ArgsSize)
	}
	v, err := parseBlock(b, argsKeys)
	if err != nil {
		return Args{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if v[0] != envFormat || v[3] != envFormat {
		return Args{}, fmt.Errorf("%w: format %.20q to %.20q is unknown, this program knows %q", ErrInvalid, v[0], v[3], envFormat)
	}
	a := Args{Device: v[1], Image: v[2]}
	if err := a.Validate(s); err != nil {
		return Args{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return a, nil
}

// invalidSector is the first sector of an args block that is not valid: an
// environment block without keys. GRUB reads it without complaint and finds
// no ab_fmt, whatever the sectors behind it still hold.
func invalidSector() []byte {
	b, ok := encodeBlock(EnvSize, nil)
	if !ok {
		panic("internal error: the signature does not fit a sector")
	}
	return b
}
