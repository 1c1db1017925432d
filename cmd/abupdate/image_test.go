package main

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "64KiB": 64 << 10, "64K": 64 << 10, "4GiB": 4 << 30, "1M": 1 << 20, "2TiB": 2 << 40,
		"8191TiB": 8191 << 40,
	} {
		var s byteSize
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "+1", "1.5GiB", "4 GiB", "4GB", "4gib", "8388608TiB", "9223372036854775808", "0x10"} {
		var s byteSize
		if err := s.Set(text); err == nil {
			t.Errorf("%q: accepted as %d", text, s)
		}
	}
}
