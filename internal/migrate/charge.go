package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
)

// charge is a boot by our GRUB: the disk, its boot state, and the journal that
// is a record there.
type charge struct {
	boot  bootctl.Cmdline
	disk  device
	store *bootctl.Store
	j     *Journal // nil: nothing was ever migrated here
}

// Close closes the disk.
func (c *charge) Close() error { return c.disk.Close() }

// save makes the journal durable.
func (c *charge) save() error { return c.j.Record(c.store) }

// bootedBy returns how our GRUB has booted this system; nil when it did not.
func (h *host) bootedBy() (*bootctl.Cmdline, error) {
	text, err := os.ReadFile(filepath.Join(h.proc, "cmdline"))
	if err != nil {
		return nil, err
	}
	boot, err := bootctl.ParseCmdline(string(text))
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // the old loader's command line is no error
	}
	return &boot, nil
}

// openCharge opens the boot state that this boot was made from.
func (h *host) openCharge(boot *bootctl.Cmdline, write bool) (*charge, error) {
	name, err := h.diskName()
	if err != nil {
		return nil, err
	}
	open := h.open
	if write {
		open = h.openWrite
	}
	disk, err := open(name)
	if err != nil {
		return nil, err
	}
	c := &charge{boot: *boot, disk: disk}
	if err := c.read(); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return c, nil
}

func (c *charge) read() error {
	var err error
	if c.store, err = bootctl.Open(c.disk, c.boot.StateLBA*sector); err != nil {
		return err
	}
	c.j, err = RecordedJournal(c.store)
	if errors.Is(err, ErrNoJournal) {
		return nil
	}
	return err
}

// diskName is the disk under the root file system.
func (h *host) diskName() (string, error) {
	f, err := os.Open(filepath.Join(h.proc, "self/mountinfo"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	mounts, err := parseMounts(f)
	if err != nil {
		return "", err
	}
	disk := h.findDisk(&Survey{}, mounts["/"])
	if disk == "" {
		return "", fmt.Errorf("%w: the root file system is on no disk of its own", partition.ErrTable)
	}
	return filepath.Join(h.dev, disk), nil
}

// check refuses to change a boot state that is not the one GRUB goes by.
func (c *charge) check() error {
	state, _, err := c.store.State()
	if err != nil {
		return err
	}
	if state.BKind != bootctl.KindOld || c.j == nil {
		return &refused{[]Refusal{{Code: "already-ab", Reason: "this is an A/B device already, and its migration is over", Next: "to update it: abupdate apply"}}}
	}
	return nil
}
