package partition

import (
	"encoding/hex"
	"fmt"
)

// guid is a GUID as it lies on disk: the first three fields little-endian
// (UEFI specification, appendix A).
type guid [16]byte

// guidOrder maps the place of a byte in the text to its place on disk.
var guidOrder = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

func parseGUID(s string) (g guid, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("%q is not a GUID: %w", s, ErrTable)
	}
	raw, err := hex.DecodeString(s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36])
	if err != nil {
		return g, fmt.Errorf("%q is not a GUID: %w", s, ErrTable)
	}
	for text, disk := range guidOrder {
		g[disk] = raw[text]
	}
	if g == (guid{}) {
		return g, fmt.Errorf("the GUID of zeros stands for none: %w", ErrTable)
	}
	return g, nil
}

func (g guid) String() string {
	var b [16]byte
	for text, disk := range guidOrder {
		b[text] = g[disk]
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
