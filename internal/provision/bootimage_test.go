package provision

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
)

func TestBuildBootImageFromGrub(t *testing.T) {
	tool(t, "grub-mkimage", "grub-common")
	for _, target := range []string{targetBIOS, targetEFI} {
		if _, err := os.Stat(filepath.Join(HostGrubDir, target)); err != nil {
			t.Fatalf("%v: apt-get install grub-pc-bin grub-efi-amd64-bin", err)
		}
	}
	var encoded [2][]byte
	for i := range encoded {
		image, err := BuildBootImage(t.Context(), HostGrubDir, true, true)
		must(t, err)
		if image.GrubVersion == "" || image.Commands != bootctl.CommandsLinux {
			t.Errorf("version %q, commands %q", image.GrubVersion, image.Commands)
		}
		encoded[i], err = image.Encode()
		must(t, err)
	}
	if !bytes.Equal(encoded[0], encoded[1]) {
		t.Error("the same GRUB gave two boot images")
	}
	out := filepath.Join(t.TempDir(), "boot.tar")
	must(t, os.WriteFile(out, encoded[0], 0o600))
	if list := judge(t, tool(t, "tar", "tar"), "tf", out); list != "boot.json\nbios/boot.img\nbios/core.img\nefi/grubx64.efi\n" {
		t.Errorf("tar lists %q", list)
	}
}

func TestBootImageOfEL7(t *testing.T) {
	for version, want := range map[string]string{
		"2.02~beta2": bootctl.CommandsEL7, "2.02": bootctl.CommandsLinux, "2.06": bootctl.CommandsLinux, "2.12": bootctl.CommandsLinux,
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "modinfo.sh"), []byte("grub_version=\""+version+"\"\n"), 0o600))
		b := &BootImage{}
		must(t, b.readVersion(dir))
		if b.Commands != want || b.GrubVersion != version {
			t.Errorf("GRUB %s: %+v", version, b)
		}
	}
	mixed := &BootImage{GrubVersion: "2.06"}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "modinfo.sh"), []byte("grub_version=2.12\n"), 0o600))
	if err := mixed.readVersion(dir); !errors.Is(err, ErrGrub) {
		t.Errorf("two versions in one image: %v", err)
	}
}

func TestBootImageRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*BootImage){
		"both": func(*BootImage) {},
		"bios": func(b *BootImage) { b.EFI = nil },
		"uefi": func(b *BootImage) { b.BIOS = nil },
		"el7":  func(b *BootImage) { b.Commands = bootctl.CommandsEL7 },
	} {
		want := fakeBoot()
		change(want)
		data, err := want.Encode()
		must(t, err)
		got, err := ParseBootImage(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestBootImageRefusals(t *testing.T) {
	for name, change := range map[string]func(*BootImage){
		"nothing":          func(b *BootImage) { b.BIOS, b.EFI = nil, nil },
		"commands":         func(b *BootImage) { b.Commands = "linux; reboot" },
		"version":          func(b *BootImage) { b.GrubVersion = "2.06\n" },
		"no version":       func(b *BootImage) { b.GrubVersion = "" },
		"boot.img":         func(b *BootImage) { b.BIOS.Boot[511] = 0 },
		"short boot.img":   func(b *BootImage) { b.BIOS.Boot = b.BIOS.Boot[:100] },
		"short core.img":   func(b *BootImage) { b.BIOS.Core = b.BIOS.Core[:600] },
		"long core.img":    func(b *BootImage) { b.BIOS.Core = append(b.BIOS.Core, make([]byte, maxCore)...) },
		"core.img segment": func(b *BootImage) { b.BIOS.Core[coreListSegment] ^= 1 },
		"EFI":              func(b *BootImage) { b.EFI = []byte("#!/bin/sh") },
	} {
		b := fakeBoot()
		change(b)
		if _, err := b.Encode(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzBootImage(f *testing.F) {
	data, err := fakeBoot().Encode()
	must(f, err)
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBootImage(data)
		if err != nil {
			if !errors.Is(err, ErrGrub) {
				t.Errorf("ParseBootImage: %v", err)
			}
			return
		}
		if again, err := b.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("encoding gives %d other bytes (%v)", len(again), err)
		}
	})
}
