package provision

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// BootImage is the boot loader of a disk: the content of a bundle's "boot"
// image. It is the same for all disks; Loader code patches addresses in.
type BootImage struct {
	// GrubVersion is as the package names it. Devices judge by it which file
	// systems their GRUB reads.
	GrubVersion string
	// Commands is bootctl.CommandsLinux or bootctl.CommandsEL7.
	Commands string
	// BIOS is nil when there is no loader for BIOS.
	BIOS *BIOSLoader
	// EFI is grubx64.efi, or nil.
	EFI []byte
}

// BIOSLoader is GRUB for BIOS.
type BIOSLoader struct {
	Boot []byte // boot.img: 512 bytes, the boot code of the first sector
	Core []byte // core.img
}

// The entries of the tar, in this order, those that exist.
const (
	entryInfo     = "boot.json"
	entryBoot     = "bios/boot.img"
	entryCore     = "bios/core.img"
	entryEFI      = "efi/grubx64.efi"
	bootFormat    = 1
	maxBootImage  = 64 << 20
	platformBIOS  = "bios"
	platformUEFI  = "uefi"
	maxGrubString = 64
)

type bootInfo struct {
	Format      int      `json:"format"`
	GrubVersion string   `json:"grubVersion"`
	Platforms   []string `json:"platforms"`
	Commands    string   `json:"commands"`
}

// Encode returns the image as a tar. The same image gives the same bytes.
func (b *BootImage) Encode() ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	info := bootInfo{Format: bootFormat, GrubVersion: b.GrubVersion, Platforms: []string{}, Commands: b.Commands}
	type entry struct {
		name string
		data []byte
	}
	var files []entry
	if b.BIOS != nil {
		info.Platforms = append(info.Platforms, platformBIOS)
		files = append(files, entry{entryBoot, b.BIOS.Boot}, entry{entryCore, b.BIOS.Core})
	}
	if b.EFI != nil {
		info.Platforms = append(info.Platforms, platformUEFI)
		files = append(files, entry{entryEFI, b.EFI})
	}
	head, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range append([]entry{{entryInfo, append(head, '\n')}}, files...) {
		header := tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// ParseBootImage reads what Encode wrote, and nothing else: encoding the
// result gives the same bytes.
func ParseBootImage(data []byte) (*BootImage, error) {
	b, err := parseBootImage(data)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the boot image: %w", ErrGrub, err)
	}
	return b, nil
}

func parseBootImage(data []byte) (*BootImage, error) {
	if len(data) > maxBootImage {
		return nil, fmt.Errorf("%d bytes, at most %d", len(data), maxBootImage)
	}
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch h.Name {
		case entryInfo, entryBoot, entryCore, entryEFI:
		default:
			return nil, fmt.Errorf("unknown entry %.100q", h.Name)
		}
		if h.Size < 0 || h.Size > int64(len(data)) {
			return nil, fmt.Errorf("%s: %d bytes in a tar of %d", h.Name, h.Size, len(data))
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	var info bootInfo
	if err := json.Unmarshal(files[entryInfo], &info); err != nil {
		return nil, fmt.Errorf("%s: %w", entryInfo, err)
	}
	if info.Format != bootFormat {
		return nil, fmt.Errorf("format %d, this program knows %d", info.Format, bootFormat)
	}
	b := &BootImage{GrubVersion: info.GrubVersion, Commands: info.Commands, EFI: files[entryEFI]}
	if files[entryBoot] != nil || files[entryCore] != nil {
		b.BIOS = &BIOSLoader{Boot: files[entryBoot], Core: files[entryCore]}
	}
	// One form only: what is signed has one meaning to every reader.
	again, err := b.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, errors.New("not as `abupdate bundle boot-image` writes it")
	}
	return b, nil
}

func (b *BootImage) validate() error {
	if b.Commands != bootctl.CommandsLinux && b.Commands != bootctl.CommandsEL7 {
		return fmt.Errorf("commands %.20q are unknown", b.Commands)
	}
	if len(b.GrubVersion) == 0 || len(b.GrubVersion) > maxGrubString || strings.ContainsFunc(b.GrubVersion, notPrintable) {
		return fmt.Errorf("GRUB version %.100q", b.GrubVersion)
	}
	if b.BIOS == nil && b.EFI == nil {
		return errors.New("no loader for any platform")
	}
	if b.BIOS != nil {
		if err := b.BIOS.validate(); err != nil {
			return err
		}
	}
	if b.EFI != nil && !bytes.HasPrefix(b.EFI, []byte("MZ")) {
		return fmt.Errorf("%s is no EFI program", entryEFI)
	}
	return nil
}

func notPrintable(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
