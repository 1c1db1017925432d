package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// espDir is our directory on the ESP, espLoader the loader in it.
const (
	espDir    = "EFI/abupdate"
	espLoader = "grubx64.efi"
)

// withESP calls do with the directory that the ESP is mounted on.
func (h *host) withESP(s *Survey, do func(dir string) error) error {
	esp := s.esp()
	if esp == nil {
		return fmt.Errorf("%w: the disk has no EFI system partition", partition.ErrTable)
	}
	if esp.Mount != "" {
		return do(filepath.Join(h.root, esp.Mount))
	}
	dir, err := os.MkdirTemp("", "abupdate-esp-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	node, err := h.partitionNode(s.Disk.Name, esp.Part)
	if err != nil {
		return err
	}
	unmount, err := h.mount(node, dir, "vfat")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), unmount())
}

// partitionNode returns the device node of a partition.
func (h *host) partitionNode(disk string, number int) (string, error) {
	base := filepath.Base(disk)
	entries, err := os.ReadDir(filepath.Join(h.sys, "class/block", base))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if n, err := h.number("class/block", base, e.Name(), "partition"); err == nil && n == number {
			return filepath.Join(h.dev, e.Name()), nil
		}
	}
	return "", fmt.Errorf("%w: the kernel does not know partition %d of %s", partition.ErrTable, number, disk)
}

// writeLoader puts our loader into a directory of its own on the ESP. Nobody
// starts it until a boot entry names it.
func (h *host) writeLoader(s *Survey, efi []byte) error {
	return h.withESP(s, func(root string) error {
		dir := filepath.Join(root, espDir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		path := filepath.Join(dir, espLoader)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, efi) {
			return syncFS(dir)
		}
		// In place and not by a rename, which on FAT is two entries for a
		// while: half a file is written anew, and nothing leads to it.
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(efi)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("%w: %s on the ESP: %w", update.ErrWrite, espLoader, err)
		}
		return syncFS(dir)
	})
}

// checkLoader makes sure that our loader is on the ESP.
func (h *host) checkLoader(s *Survey, sum string) error {
	return h.withESP(s, func(root string) error {
		f, err := os.Open(filepath.Join(root, espDir, espLoader))
		if err != nil {
			return err
		}
		defer f.Close()
		have, _, err := hashFile(f)
		if err == nil && have != sum {
			err = fmt.Errorf("%s on the ESP: %w", espLoader, errMoved)
		}
		return err
	})
}

// removeLoader takes our boot entry away first, then what it led to.
func (h *host) removeLoader(s *Survey) error {
	if err := bootctl.RemoveBoot(h.efivars()); err != nil {
		return err
	}
	return h.withESP(s, func(root string) error {
		dir := filepath.Join(root, espDir)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := removeDefaultLoader(root); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		return syncFS(root)
	})
}

// removeDefaultLoader takes our loader away from where the firmware looks when
// it knows of nothing else; somebody else's stays.
func removeDefaultLoader(root string) error {
	ours, err := os.ReadFile(filepath.Join(root, ourLoader))
	if err != nil {
		return nil //nolint:nilerr // a removal that was cut: this one came first
	}
	path := filepath.Join(root, defaultLoader)
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, ours) {
		return nil //nolint:nilerr // there is none of ours
	}
	return os.Remove(path)
}

// syncFS writes a whole file system out: FAT has no journal, and fsync of a
// file leaves its directory entry behind.
func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

// secureLoaders does before gather what finish does after a carve: behind the
// point of no return nothing boots but what our boot state says, also where the
// firmware has lost its entries.
func (st *starting) secureLoaders() error {
	esp, ok := st.survey.Disk.Table.Part(st.survey.esp().Part)
	if !ok {
		return errors.New("internal error: the partition table has no ESP")
	}
	d := NewLiveDisk(st.survey.Disk.Name, st.disk)
	d.proc, d.sys = st.proc, st.sys
	// A cut behind any of its writes leaves the old loader, or ours by the old
	// loader's configuration.
	err := d.SecureLoaders(esp, st.store.Layout().ID, func(s SavedSectors) error {
		st.j.saveFirst(s)
		if err := st.writeJournalFile(st.j); err != nil {
			return err
		}
		return st.saveStarted()
	})
	if err != nil {
		return fmt.Errorf("making the firmware's other ways lead to our boot loader: %w", err)
	}
	return nil
}

// saveFirst adds a vendor's grub.cfg to what abort writes back, in front of the
// table: without abboot in the table that file would lead nowhere.
func (j *Journal) saveFirst(s SavedSectors) { j.Undo = slices.Insert(j.Undo, 0, s) }

// bootFirst makes our loader the first that the firmware starts.
func (st *starting) bootFirst() error {
	esp := st.survey.esp()
	p, ok := st.survey.Disk.Table.Part(esp.Part)
	if !ok {
		return fmt.Errorf("internal error: no partition %d", esp.Part)
	}
	// COMMIT POINT on UEFI: BootOrder.
	return bootctl.PutBootFirst(st.efivars(), bootctl.NewEFIEntry(p.Number, p.Start, p.Size, p.PartUUID))
}
