package bootctl

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// cmdlinePrefix begins the kernel arguments that grub.cfg gives about itself.
const cmdlinePrefix = "ab."

// Cmdline is what the kernel command line says about the boot.
type Cmdline struct {
	System System
	Why    Why
	// Seq is State.Seq as GRUB read it; 0 with WhyStatic.
	Seq uint32
	// StateLBA is the first sector of the state file.
	StateLBA int64
}

// ErrForeign is returned for a kernel command line that grub.cfg did not make.
var ErrForeign = errors.New("this system was not booted by abupdate's grub.cfg")

// ParseCmdline reads the content of /proc/cmdline.
func ParseCmdline(text string) (Cmdline, error) {
	c, err := parseCmdline(text)
	if err != nil {
		return Cmdline{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return c, nil
}

func parseCmdline(text string) (c Cmdline, err error) {
	values, err := ownWords(text)
	if err != nil {
		return c, err
	}
	if values["why"] == WhyCore.String() {
		return c, errors.New("GRUB could not read abboot and booted a slot by itself (ab.why=core)")
	}
	for _, name := range [...]string{"slot", "why", "seq", "state"} {
		if _, ok := values[name]; !ok {
			return c, fmt.Errorf("the kernel command line has no %s%s=", cmdlinePrefix, name)
		}
	}
	var errs [4]error
	c.System, errs[0] = ParseSystem(values["slot"])
	c.Why, errs[1] = parseWhy(values["why"])
	if values["seq"] != "0" || c.Why != WhyStatic {
		c.Seq, errs[2] = parseSeq(values["seq"])
	}
	c.StateLBA, errs[3] = parseLBA(values["state"])
	return c, errors.Join(errs[:]...)
}

// ownWords returns the values of the words that begin with cmdlinePrefix. A
// word twice is refused: args blocks cannot hold one, so somebody else added
// it.
func ownWords(text string) (map[string]string, error) {
	values := make(map[string]string)
	for _, word := range strings.Fields(text) {
		own, ok := strings.CutPrefix(word, cmdlinePrefix)
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(own, "=")
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("the kernel command line has %s%.40q twice", cmdlinePrefix, name)
		}
		values[name] = value
	}
	return values, nil
}

func parseLBA(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/EnvSize {
		return 0, fmt.Errorf("sector %.40q of the state file", text)
	}
	return n, nil
}
