// Package initramfs packs the initramfs of the migrator: the program itself,
// as PID 1, and the modules that the running kernel needs to reach this
// machine's disk, file systems and network.
//
// Invariant: the same program, kernel and machine give the same bytes, and an
// initramfs without a module that the migration cannot do without is never
// made. Start with Build; in the initramfs, with Load.
package initramfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// Options says what to pack.
type Options struct {
	// Migrator is the path of the program, a static one.
	Migrator string
	// KernelRelease is what uname -r says of the kernel that will start it.
	KernelRelease string
	// Root is the root directory of the running system: its /sys tells the
	// devices, its /proc/modules the modules in use, its /lib/modules has them.
	Root *os.Root
	// Need are modules that must be there, loadable or in the kernel: the
	// file systems of the old and the new system, dm_mod.
	Need []string
}

// Where the modules lie in the initramfs, and the file that lists them in the
// order of loading, one name a line.
const (
	modulesDir = "modules"
	orderFile  = modulesDir + "/order"
)

// maxProgram bounds what is read into memory as the migrator.
const maxProgram = 64 << 20

// Build writes the initramfs, a cpio archive in gzip: an xz one takes more
// memory to unpack than a small gateway has.
func Build(w io.Writer, o Options) error {
	if err := build(w, o); err != nil {
		return fmt.Errorf("packing the migrator's initramfs: %w", err)
	}
	return nil
}

func build(w io.Writer, o Options) error {
	program, err := readProgram(o.Migrator)
	if err != nil {
		return err
	}
	if o.KernelRelease == "" || strings.ContainsRune(o.KernelRelease, '/') {
		return fmt.Errorf("kernel release %q", o.KernelRelease)
	}
	set, err := readModules(o.Root, o.KernelRelease)
	if err != nil {
		return err
	}
	names, err := set.choose(o.Root, o.Need)
	if err != nil {
		return err
	}
	records := []cpio.Record{
		cpio.Directory("dev", 0o755),
		// The kernel opens it for PID 1 before anything is mounted.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.StaticFile("init", string(program), 0o755),
		cpio.Directory(modulesDir, 0o755),
	}
	for _, dir := range []string{"proc", "sys", "run"} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	var order bytes.Buffer
	for _, name := range names {
		code, err := set.read(o.Root, name)
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(path.Join(modulesDir, name+".ko"), string(code), 0o644))
		fmt.Fprintln(&order, name)
	}
	records = append(records, cpio.StaticFile(orderFile, order.String(), 0o644))
	return writeArchive(w, records)
}

func writeArchive(w io.Writer, records []cpio.Record) error {
	z, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	archive := cpio.Newc.Writer(z)
	if err := cpio.WriteRecords(archive, records); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(archive); err != nil {
		return err
	}
	return z.Close()
}

func readProgram(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProgram+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxProgram:
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxProgram)
	case !bytes.HasPrefix(b, []byte("\x7fELF")):
		return nil, errors.New(name + " is no program")
	}
	return b, nil
}
