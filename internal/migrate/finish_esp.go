package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
)

// Paths on the ESP.
const (
	ourLoader     = espDir + "/" + espLoader
	defaultLoader = "EFI/BOOT/BOOTX64.EFI"
)

// SecureLoaders implements FinishMachine: a firmware that has lost its boot
// entries starts EFI/BOOT or the vendor's loader, which must then lead to our
// grub.cfg and not to kernels that are gone.
func (d *LiveDisk) SecureLoaders(esp partition.Part, id string, save func(SavedSectors) error) error {
	return d.withESP(esp.Number, func(dir string) error {
		configs, err := filepath.Glob(filepath.Join(dir, "EFI/*/grub.cfg"))
		if err != nil {
			return err
		}
		for _, path := range configs {
			if filepath.Base(filepath.Dir(path)) == filepath.Base(espDir) {
				continue // beside our own loader
			}
			if err := d.stub(path, esp, id, save); err != nil {
				return fmt.Errorf("%s on the ESP: %w", strings.TrimPrefix(path, dir+"/"), err)
			}
		}
		if err := addDefaultLoader(dir); err != nil {
			return fmt.Errorf("%s on the ESP: %w", defaultLoader, err)
		}
		return syncFS(dir)
	})
}

// stubText is the grub.cfg that leads to ours. It never comes to its end, and
// what is left of the old file behind it is never run. EL9's packages leave a
// grub.cfg alone that has the word configfile in it.
func stubText(id string) []byte {
	text := fmt.Sprintf(`# abupdate: this file leads to grub.cfg of the partition abboot.
search --no-floppy --file --set=root %s
set prefix=($root)/grub
configfile ($root)%s
sleep 10
reboot
`, bootctl.IDPath(id), bootctl.GrubConfigPath)
	return append([]byte(text), bytes.Repeat([]byte("#"), sector-len(text))...)
}

// stub makes the first sector of a grub.cfg lead to ours: one write, in place.
func (d *LiveDisk) stub(path string, esp partition.Part, id string, save func(SavedSectors) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// An abort has perhaps written to the disk below what is cached.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	text := stubText(id)
	old := make([]byte, sector)
	n, err := f.ReadAt(old, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.Equal(old, text) {
		return nil
	}
	if n < sector {
		// First as long as a sector, by empty lines that change nothing: then
		// the write that counts touches no directory entry.
		if _, err := f.WriteAt(bytes.Repeat([]byte("\n"), sector-n), int64(n)); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Sync(), syncFS(filepath.Dir(path))); err != nil {
		return err
	}
	off, err := firstSector(f)
	if err != nil {
		return err
	}
	off += esp.Start
	saved := make([]byte, sector)
	if _, err := d.disk.ReadAt(saved, off); err != nil {
		return err
	}
	if !bytes.Equal(saved[:n], old[:n]) {
		return fmt.Errorf("byte %d of the disk is not where it begins", off)
	}
	if err := save(SavedSectors{Off: off, Bytes: bytes.Clone(saved)}); err != nil {
		return err
	}
	// COMMIT POINT: one sector. Before it the vendor's loader boots the old
	// system, which is whole; after it, what our boot state says.
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := d.disk.ReadAt(saved, off); err != nil {
		return err
	}
	if !bytes.Equal(saved, text) {
		return errors.New("the disk does not hold what was written")
	}
	return nil
}

// firstSector returns where a file begins, in bytes from the start of its file
// system.
func firstSector(f *os.File) (int64, error) {
	var block, unit int32
	for _, q := range []struct {
		name    string
		request uintptr
		answer  *int32
	}{{"FIGETBSZ", 2, &unit}, {"FIBMAP", 1, &block}} { // linux/fs.h
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), q.request, uintptr(unsafe.Pointer(q.answer))); errno != 0 {
			return 0, os.NewSyscallError(q.name, errno)
		}
	}
	return int64(block) * int64(unit), nil
}

// addDefaultLoader puts our loader where the firmware looks when it knows of
// nothing else, unless there is one.
func addDefaultLoader(dir string) error {
	path := filepath.Join(dir, defaultLoader)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	loader, err := os.ReadFile(filepath.Join(dir, ourLoader))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// Under another name first: half a loader that bears the right one would
	// be taken for a whole one by the next run.
	part := filepath.Join(filepath.Dir(path), "ABUPDATE.NEW")
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(loader)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(part, path) //nolint:forbidigo // on FAT, where a rename is not atomic: nothing has this name yet
}

// withESP calls do with the directory that the ESP is mounted on.
func (d *LiveDisk) withESP(number int, do func(dir string) error) error {
	parts, err := d.parts()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.number != number {
			continue
		}
		devices := map[string]string{}
		if err := d.below(p.name, devices); err != nil {
			return err
		}
		mounts, err := d.mountPoints(devices)
		if err != nil {
			return err
		}
		if at := slices.Sorted(maps.Keys(mounts)); len(at) > 0 {
			return do(at[0])
		}
		return d.mountESP("/dev/"+p.name, do)
	}
	return fmt.Errorf("the kernel has no partition %d of %s", number, d.node)
}

func (d *LiveDisk) mountESP(node string, do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "abupdate-esp-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(node, dir, d.espType, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", node, err)
	}
	return errors.Join(do(dir), os.NewSyscallError("umount", unix.Unmount(dir, 0)))
}
