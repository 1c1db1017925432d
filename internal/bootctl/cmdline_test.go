package bootctl

import (
	"errors"
	"testing"
)

func TestParseCmdline(t *testing.T) {
	for text, want := range map[string]Cmdline{
		"BOOT_IMAGE=(hd0,msdos2)/boot/vmlinuz root=PARTUUID=11223344-02 panic=10 gpt ab.slot=a ab.why=good ab.seq=0000000007 ab.state=4096 quiet\n": {SystemA, WhyGood, 7, 4096},
		"ab.slot=b ab.why=trial ab.seq=4294967295 ab.state=1 x.ab.slot=a":                                                                           {SystemB, WhyTrial, 1<<32 - 1, 1},
		"ab.slot=old ab.why=static ab.seq=0 ab.state=8":                                                                                             {SystemOld, WhyStatic, 0, 8},
		"ab.slot=mig ab.why=migrate ab.seq=0000000001 ab.state=8":                                                                                   {SystemMigrator, WhyMigrate, 1, 8},
	} {
		if got, err := ParseCmdline(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseCmdlineRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"foreign":           "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro quiet",
		"empty":             "",
		"core fallback":     "root=PARTUUID=11223344-02 ab.why=core",
		"no state":          "ab.slot=a ab.why=good ab.seq=0000000007",
		"slot c":            "ab.slot=c ab.why=good ab.seq=0000000007 ab.state=8",
		"reason":            "ab.slot=a ab.why=fun ab.seq=0000000007 ab.state=8",
		"sequence 0":        "ab.slot=a ab.why=good ab.seq=0 ab.state=8",
		"negative state":    "ab.slot=a ab.why=good ab.seq=0000000007 ab.state=-8",
		"state 0":           "ab.slot=a ab.why=good ab.seq=0000000007 ab.state=0",
		"state beyond 2^63": "ab.slot=a ab.why=good ab.seq=0000000007 ab.state=9223372036854775807",
		"slot twice":        "ab.slot=a ab.why=good ab.seq=0000000007 ab.state=8 ab.slot=b",
	} {
		if c, err := ParseCmdline(text); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %+v, %v; want ErrForeign", name, c, err)
		}
	}
}
