package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/atomicfile"
)

// Where a migration keeps its things in the old system.
const (
	// JournalPath is the journal while the old system's loader is in charge.
	JournalPath = "/var/lib/abupdate/migrate/journal.json"
	// carvedDirs are where carved files may lie: the first one that is on the
	// root file system. Both are a system's own to the survey, not data.
	carvedDir      = "/var/lib/abupdate/migrate"
	carvedDirOther = "/.abupdate-migrate"
)

// Names of the files that hold a migration's parts.
const (
	fileAbboot  = "abboot"
	fileSlotA   = "slot-a"
	fileData    = "data"
	fileBundle  = "bundle"
	fileArchive = "archive"
)

var carvedFiles = []string{fileAbboot, fileSlotA, fileData, fileBundle, fileArchive}

// carvedPath returns where a carved file lies in the host's root file system.
// Another file system, such as one for /var, is no place for it: room was
// planned in the root file system.
func (h *host) carvedPath(name string) (string, error) {
	var dirs []string
	root, err := os.Stat(h.root)
	if err != nil {
		return "", err
	}
	for _, dir := range []string{carvedDir, carvedDirOther} {
		at := filepath.Join(h.root, dir)
		if err := os.MkdirAll(at, 0o700); err != nil {
			return "", err
		}
		st, err := os.Stat(at)
		if err != nil {
			return "", err
		}
		if st.Sys().(*syscall.Stat_t).Dev == root.Sys().(*syscall.Stat_t).Dev {
			return filepath.Join(at, name), nil
		}
		dirs = append(dirs, at)
	}
	return "", fmt.Errorf("internal error: %v are on other file systems than /", dirs)
}

// readJournalFile returns the journal that is a file; nil when there is none.
func (h *host) readJournalFile() (*Journal, error) {
	path := filepath.Join(h.root, JournalPath)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no migration is the usual case
	}
	if err != nil {
		return nil, err
	}
	j, err := ParseJournal(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return j, nil
}

// writeJournalFile replaces the journal that is a file.
func (h *host) writeJournalFile(j *Journal) error {
	b, err := j.Encode()
	if err != nil {
		return err
	}
	path := filepath.Join(h.root, JournalPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, append(b, '\n'), 0o600)
}

// removeFiles takes away all that prepare has made in the old system, the
// journal last: until then the same command finds what is left.
func (h *host) removeFiles() error {
	for _, dir := range []string{carvedDir, carvedDirOther} {
		at := filepath.Join(h.root, dir)
		for _, name := range append(carvedFiles, fileInitramfs) {
			if err := removeCarved(filepath.Join(at, name)); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(filepath.Join(h.root, JournalPath)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(h.root, carvedDirOther)); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(h.root, carvedDir))
}

// removeCarved removes a file that may be immutable.
func removeCarved(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := setImmutable(f, false); err != nil {
		return err
	}
	return os.Remove(path)
}

const immutableFlag = 0x10 // FS_IMMUTABLE_FL, include/uapi/linux/fs.h

// setImmutable sets or clears the flag that keeps everybody from writing to,
// moving or removing a file (chattr +i): defragmenters and fstrim leave such
// a file's blocks alone, too.
func setImmutable(f *os.File, on bool) error {
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil && !on {
		return nil // a file system without flags set none
	}
	if err != nil {
		return fmt.Errorf("reading the flags of %s: %w", f.Name(), err)
	}
	want := flags &^ immutableFlag
	if on {
		want |= immutableFlag
	}
	if want == flags {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, want); err != nil {
		return fmt.Errorf("changing the flags of %s: %w", f.Name(), err)
	}
	return nil
}
