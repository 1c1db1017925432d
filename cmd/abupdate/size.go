package main

import (
	"strconv"

	"github.com/abupdate/abupdate/internal/config"
)

// sizeFlag is a number of bytes on the command line, such as 512KiB or 4GiB.
type sizeFlag int64

// Set implements pflag.Value.
func (s *sizeFlag) Set(text string) error {
	n, err := config.ParseSize(text)
	*s = sizeFlag(n)
	return err
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
