package bootctl

import (
	"archive/tar"
	"bytes"
	_ "embed" // of core.cfg
	"slices"
)

//go:embed core.cfg
var coreScript []byte

// CoreScript returns the script that GRUB's core runs. It needs GRUB's full
// script language. What grub-mkimage embeds with -c does not have it: those
// lines go through the rescue parser, which knows neither if nor for. Put
// CoreMemdisk into the image instead; for a signed grubx64.efi, which cannot
// be rebuilt, CoreScript is the grub.cfg beside it.
func CoreScript() []byte { return bytes.Clone(coreScript) }

// CorePrefix is grub-mkimage's -p: where the core looks for its grub.cfg. It
// is what -m implies anyway, so the order of the two options does not matter;
// and it has a path, because without one UEFI adds the directory that the
// loader came from.
const CorePrefix = "(memdisk)/boot/grub"

// CoreMemdisk returns a tar for grub-mkimage's -m, which holds CoreScript as
// /boot/grub/grub.cfg. Everything is in the core then: a core that has to read
// its script from a disk falls to "grub rescue>" when it cannot.
func CoreMemdisk() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	head := &tar.Header{Name: "boot/grub/grub.cfg", Mode: 0o644, Size: int64(len(coreScript)), Format: tar.FormatUSTAR}
	if err := w.WriteHeader(head); err != nil {
		panic("internal error: making the memdisk: " + err.Error())
	}
	if _, err := w.Write(coreScript); err != nil {
		panic("internal error: making the memdisk: " + err.Error())
	}
	if err := w.Close(); err != nil {
		panic("internal error: making the memdisk: " + err.Error())
	}
	return b.Bytes()
}

// CoreModules returns the modules that a core needs for CoreScript and
// grub.cfg, for grub-mkimage's platform i386-pc or x86_64-efi. A core that
// loads a module from a disk falls to "grub rescue>" when it cannot.
func CoreModules(platform string) []string {
	modules := []string{
		"memdisk", "tar", "normal", "configfile", // the script itself
		"part_msdos", "part_gpt", "ext2", "xfs", "fat", // what it reads
		"test", "echo", "loadenv", "search", "search_fs_file", "probe",
		"linux", "boot", "reboot", "sleep", "minicmd", "serial", "terminal",
	}
	if platform == "x86_64-efi" {
		// A kernel that GRUB gives no frame buffer boots blind.
		return append(modules, "efi_gop", "efi_uga")
	}
	return slices.Concat([]string{"biosdisk"}, modules)
}
