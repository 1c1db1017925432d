package bootctl

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

var someArgs = Args{Device: "console=ttyS0,115200 net.ifnames=0", Image: "quiet crashkernel=1G-4G:192M"}

func TestArgsRoundTrip(t *testing.T) {
	for _, a := range []Args{{}, someArgs, {Device: "a=1;b=$x #c =d"}, {Image: strings.Repeat("x", MaxArgs)}, {Device: "ip=[fd00::2]::[fd00::1]:64"}} {
		if err := a.Validate(SystemA); err != nil {
			t.Fatal(err)
		}
		b := a.encode()
		if got, err := ParseArgs(b, SystemA); err != nil || got != a {
			t.Errorf("%+v came back as %+v, %v", a, got, err)
		}
	}
}

func TestGrubEditenvReadsArgs(t *testing.T) {
	want := "ab_fmt=1\nab_args=" + someArgs.Device + "\nab_image_args=" + someArgs.Image + "\nab_end=1\n"
	if got, _ := grubEditenv(t, someArgs.encode(), "list"); got != want {
		t.Errorf("grub-editenv lists %q, want %q", got, want)
	}
}

func TestGrubEditenvReadsInvalidArgs(t *testing.T) {
	// The rest of a long block lies behind the invalid first sector.
	b := Args{Device: strings.Repeat("x ", MaxArgs/2)}.encode()
	copy(b, invalidSector())
	if got, _ := grubEditenv(t, b, "list"); strings.Contains(got, "ab_fmt") {
		t.Errorf("grub-editenv lists %q", got)
	}
	if _, err := ParseArgs(b, SystemA); !errors.Is(err, ErrInvalid) {
		t.Errorf("ParseArgs = %v, want ErrInvalid", err)
	}
}

func TestArgsValidateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args Args
		sys  System
	}{
		"newline":           {Args{Device: "a\nab_end=1"}, SystemA},
		"double quote":      {Args{Device: `dyndbg="x +p"`}, SystemA},
		"single quote":      {Args{Image: `a='b'`}, SystemA},
		"backslash":         {Args{Image: `a=\x20`}, SystemA},
		"not ASCII":         {Args{Device: "a=\u00e4"}, SystemA},
		"too long":          {Args{Device: strings.Repeat("x", MaxArgs), Image: "y"}, SystemA},
		"another root":      {Args{Device: "quiet root=/dev/sda3"}, SystemB},
		"another initramfs": {Args{Device: "initrd=/x"}, SystemB},
		"loader's word":     {Args{Image: "ab.slot=b"}, SystemA},
		"no PARTUUID":       {Args{Device: "ab.data="}, SystemA},
		"not a PARTUUID":    {Args{Device: "ab.data=/dev/sda4@2048"}, SystemA},
		"no sector":         {Args{Device: "ab.data=c0ffee00-04"}, SystemA},
		"not a sector":      {Args{Device: "ab.data=c0ffee00-04@2048s"}, SystemA},
		"loader's word old": {Args{Image: "ab.seq=1"}, SystemOld},
	} {
		if c.args.Validate(c.sys) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	data := Args{Device: DataArg("0fc63daf-8483-4772-8e79-3d69d8477de4", 1<<40)}
	if err := data.Validate(SystemA); err != nil || data.Device != "ab.data=0fc63daf-8483-4772-8e79-3d69d8477de4@2147483648" {
		t.Errorf("%q: %v", data.Device, err)
	}
	old := Args{Device: "root=/dev/mapper/centos-root ro"}
	if err := old.Validate(SystemOld); err != nil {
		t.Errorf("the old system names its own root: %v", err)
	}
}

func TestParseArgsRefuses(t *testing.T) {
	good := someArgs.encode()
	for name, b := range map[string][]byte{
		"empty":        nil,
		"zeros":        make([]byte, ArgsSize),
		"short":        good[:ArgsSize-1],
		"no end":       bytes.Replace(good, []byte("ab_end=1\n"), []byte("#########"), 1),
		"other format": bytes.Replace(good, []byte("ab_fmt=1"), []byte("ab_fmt=2"), 1),
		"sector lost":  append(bytes.Clone(good[:EnvSize]), make([]byte, ArgsSize-EnvSize)...),
	} {
		if _, err := ParseArgs(b, SystemA); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
