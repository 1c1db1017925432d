package main

import (
	"fmt"
	"strconv"
	"strings"
)

// sizeFlag is a number of bytes on the command line: 1048576, 512KiB, 1GiB,
// 500kB. The short forms K, M, G, T are powers of 1024.
type sizeFlag int64

var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1},
}

// Set implements pflag.Value.
func (s *sizeFlag) Set(text string) error {
	digits, factor := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is no size: give a number with KiB, MiB, GiB or TiB, such as 4GiB", text)
	}
	*s = sizeFlag(n * factor)
	return nil
}

// String implements pflag.Value.
func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type implements pflag.Value: how --help names the argument.
func (s *sizeFlag) Type() string { return "SIZE" }
