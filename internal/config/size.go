package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// sizeUnits are those of the command line, too.
var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"K", 1 << 10},
	{"M", 1 << 20},
	{"G", 1 << 30},
	{"B", 1},
}

// size takes a number of bytes: 500000, "500kB", "2MiB".
func size(dst *int64, least int64) value {
	return func(v any) error {
		var n int64
		switch v := v.(type) {
		case int64:
			n = v
		case string:
			var err error
			if n, err = ParseSize(v); err != nil {
				return err
			}
		default:
			return errors.New(`must be a number of bytes: 500000, "500kB" or "2MiB"`)
		}
		if n < least || n > 1<<50 {
			return fmt.Errorf("%d bytes are out of range", n)
		}
		*dst = n
		return nil
	}
}

// ParseSize reads a number of bytes: 500000, 500kB, 2MiB, 4GiB. The short
// forms K, M and G are powers of 1024. The command line reads sizes by it too.
func ParseSize(s string) (int64, error) {
	digits, factor := s, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			digits, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("%q is no number of bytes: write 500kB or 2MiB", s)
	}
	return n * factor, nil
}
