package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/migrate/initramfs"
)

func newMigratePrepareCommand(a *app) *cobra.Command {
	var f migrateFlags
	c := &cobra.Command{
		Use:   "prepare SOURCE",
		Short: "Put the new system in its place while the old one runs",
		Long: `prepare verifies the bundle SOURCE (a file or an http(s) address), finds room for
the new system on the disk, writes it there and reads it back. The old system
runs on meanwhile, and its boot loader stays in charge: nothing of this has an
effect before "abupdate migrate start".

After an interruption run the same command again: what is right is kept.
"abupdate migrate abort" undoes it.

Exit code 60 when something speaks against the migration: then nothing was
written.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.migratePrepare(c.Context(), args[0], &f)
			if err != nil {
				return err
			}
			a.prepared(p)
			return nil
		},
	}
	f.add(c)
	return c
}

// migrated is the last JSON line of prepare, start and abort.
type migrated struct {
	result
	Tier    migrate.Tier `json:"tier,omitempty"`
	Version string       `json:"version,omitempty"`
}

func (a *app) migratePrepare(ctx context.Context, ref string, f *migrateFlags) (*migrate.Prepared, error) {
	debug.SetMemoryLimit(memoryLimit)
	if err := a.live("migrate prepare"); err != nil {
		return nil, err
	}
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	tier, err := f.settle(cfg)
	if err != nil {
		return nil, err
	}
	if ref == "-" {
		return nil, usagef("prepare reads the bundle twice: give a file or an address, not standard input")
	}
	ring, err := readKeyring(f.keyring)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{err: err, hint: "give the vendor's keyring: --keyring K.json, or [device] keyring in the configuration"}
	}
	if err != nil {
		return nil, err
	}
	src, err := source.Open(ctx, ref, nil, sourceOptions(cfg, 0))
	if err != nil {
		return nil, err
	}
	defer src.Close()
	a.ui.Say("looking at this machine (counting files may take a while)")
	p, err := migrate.Prepare(ctx, migrate.PrepareOptions{
		Source: src, Keyring: ring, Compatible: f.compatible, Product: f.product, AgentVersion: version,
		SlotSize: int64(f.slotSize), Tier: tier,
		Initramfs: func(w io.Writer, need []string) error { return packMigrator(w, f.migrator, need) },
		Progress:  a.ui.Progress,
		Notice:    func(text string) { a.ui.Say("%s", text) },
	})
	a.ui.outcome = result{BytesFetched: src.Fetched()}
	return p, err
}

// packMigrator packs the initramfs for the kernel that runs.
func packMigrator(w io.Writer, program string, need []string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("asking for the kernel's release: %w", err)
	}
	root, err := os.OpenRoot("/")
	if err != nil {
		return err
	}
	defer root.Close()
	return initramfs.Build(w, initramfs.Options{
		Migrator: program, KernelRelease: unix.ByteSliceToString(u.Release[:]), Root: root,
		Need: need,
	})
}

func (a *app) prepared(p *migrate.Prepared) {
	j := p.Journal
	r := migrated{
		result: result{Type: "result", Phase: string(j.Phase), BytesWritten: p.BytesWritten, BytesFetched: a.ui.outcome.BytesFetched, BytesReused: p.BytesReused},
		Tier:   j.Tier, Version: j.Version,
	}
	a.ui.Result(r, func() {
		if p.Already {
			a.ui.Printf("%s %s is prepared already.\n", j.Product, j.Version)
		} else {
			a.ui.Printf("%s %s is in its place, read back and verified (%s written, %s were right already).\n",
				j.Product, j.Version, formatSize(p.BytesWritten), formatSize(p.BytesReused))
		}
		a.ui.Printf("The device goes on as it is. To migrate it: abupdate migrate start. To give it up: abupdate migrate abort.\n")
	})
}
