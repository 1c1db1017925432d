package migrate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/minio/sha256-simd"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/mkfs"
	"github.com/abupdate/abupdate/internal/provision"
	"github.com/abupdate/abupdate/internal/update"
)

// fileInitramfs is where the migrator's initramfs is packed before it goes to
// abboot.
const fileInitramfs = "initramfs"

// oldKernel returns the files that the old system has been booted from, in
// its root file system: its kernel and its initramfs.
func (h *host) oldKernel(release string) (kernel, initramfs string, err error) {
	find := func(what string, names ...string) string {
		for _, name := range names {
			st, statErr := os.Stat(filepath.Join(h.root, name))
			if statErr == nil && st.Mode().IsRegular() && st.Size() > 0 {
				return name
			}
		}
		err = errors.Join(err, fmt.Errorf("the running system's %s is not there (%s)", what, strings.Join(names, ", ")))
		return ""
	}
	kernel = find("kernel", "/boot/vmlinuz-"+release, "/lib/modules/"+release+"/vmlinuz")
	initramfs = find("initramfs", "/boot/initramfs-"+release+".img", "/boot/initrd.img-"+release, "/boot/initrd-"+release)
	return kernel, initramfs, err
}

// bootSource is a file on its way to abboot.
type bootSource struct {
	BootFile
	content io.ReaderAt
	file    *os.File // nil: nothing to close
}

// openBootFiles opens what goes to abboot and hashes it. The caller closes
// all of it.
func (h *host) openBootFiles(release string) (_ []bootSource, err error) {
	kernel, initramfs, err := h.oldKernel(release)
	if err != nil {
		return nil, err
	}
	packed, err := h.carvedPath(fileInitramfs)
	if err != nil {
		return nil, err
	}
	var out []bootSource
	defer func() {
		if err != nil {
			closeBootFiles(out)
		}
	}()
	for _, f := range []struct{ path, from string }{
		{path.Join(bootctl.OldDir, "vmlinuz"), kernel},
		{path.Join(bootctl.OldDir, "initramfs"), initramfs},
		{path.Join(bootctl.MigratorDir, "vmlinuz"), kernel},
		{path.Join(bootctl.MigratorDir, "initramfs"), ""},
	} {
		at := filepath.Join(h.root, f.from)
		if f.from == "" {
			at = packed
		}
		file, err := os.Open(at)
		if err != nil {
			return nil, err
		}
		out = append(out, bootSource{BootFile: BootFile{Path: f.path, From: f.from}, content: file, file: file})
		b := &out[len(out)-1]
		if b.SHA256, b.At.Size, err = hashFile(file); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func closeBootFiles(files []bootSource) {
	for _, f := range files {
		if f.file != nil {
			f.file.Close()
		}
	}
}

// hashFile returns the SHA-256 and the length of a file.
func hashFile(f *os.File) (sum string, size int64, err error) {
	h := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

func hashBytes(b []byte) string {
	h := sha256.New()
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

// abbootOf says what abboot is to hold.
func (j *Journal) abbootOf(f *offer, files []bootSource) provision.Abboot {
	a, _ := j.End.Part(j.ANumber)
	b, _ := j.End.Part(j.BNumber)
	out := provision.Abboot{
		Start: j.Boot.Start, Size: j.Boot.Size, FSUUID: newUUID(),
		Numbers: provision.Numbers{Boot: j.BootNumber, A: j.ANumber, B: j.BNumber, Data: j.DataNumber},
		Grub: bootctl.GrubParams{
			ID: newDiskID(), Scheme: bootctl.SchemeMSDOS, PartUUIDA: a.PartUUID, PartUUIDB: b.PartUUID,
			Commands: f.boot.Commands, Serial: strings.Contains(j.DeviceArgs, "console=ttyS0"),
		},
	}
	if len(j.DiskID) > 8 { // a GUID
		out.Grub.Scheme = bootctl.SchemeGPT
	}
	if j.Firmware == "bios" {
		out.Loader = f.boot.BIOS
	}
	for _, s := range files {
		out.Files = append(out.Files, mkfs.File{Path: s.Path, Content: s.content, Size: s.At.Size})
	}
	return out
}

// writeAbboot fills abboot's region and notes in the journal where its files
// lie. to is written, and read by disk address; disk is the whole disk.
func (j *Journal) writeAbboot(to, disk blockdev.Device, f *offer, o PrepareOptions, files []bootSource) error {
	a := j.abbootOf(f, files)
	placed, err := a.Place()
	if err != nil {
		return err
	}
	// Every block gets a content, also those that nothing uses: what the old
	// system's file system regards as never written would read as zeros there,
	// whatever lies on the disk.
	if err := zero(to, o.Progress); err != nil {
		return err
	}
	if err := placed.Write(to); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	if err := placed.Write(comparer{to}); err != nil {
		return fmt.Errorf("reading abboot back: %w", err)
	}
	j.BootFiles = nil
	for _, s := range files {
		s.At.Start = placed.Extents[s.Path].Off
		j.BootFiles = append(j.BootFiles, s.BootFile)
	}
	j.StateOff, j.BootCode = placed.Layout.State.Off, nil
	if a.Loader != nil {
		j.BootCode = a.Loader.BootCode(placed.CoreOff)
	}
	// From here on abboot is written by disk address only.
	if err := bootctl.Format(disk, placed.Layout, bootctl.BackToOld(bootctl.State{})); err != nil {
		return err
	}
	store, err := bootctl.Open(disk, j.StateOff)
	if err != nil {
		return err
	}
	return writeRecords(store, f, o, f.boot.GrubVersion)
}

// zero writes zeros over a device.
func zero(to blockdev.Device, progress func(string, int64, int64)) error {
	buf := blockdev.AlignedBuffer(1 << 20)
	for at := int64(0); at < to.Size(); at += int64(len(buf)) {
		if _, err := to.WriteAt(buf[:min(int64(len(buf)), to.Size()-at)], at); err != nil {
			return err
		}
		progress("preparing abboot", at, to.Size())
	}
	return to.Sync()
}

// comparer is written to what must be there already.
type comparer struct{ dev blockdev.Device }

func (c comparer) WriteAt(p []byte, off int64) (int, error) {
	// Whole blocks, so that the device reads past the page cache.
	buf := blockdev.AlignedBuffer(int(roundUp(int64(len(p)), blockUnit)))
	buf = buf[:min(int64(len(buf)), c.dev.Size()-off)]
	if _, err := c.dev.ReadAt(buf, off); err != nil && err != io.EOF {
		return 0, err
	}
	if !bytes.Equal(buf[:len(p)], p) {
		return 0, fmt.Errorf("bytes [%d, +%d): %w", off, len(p), errReadBack)
	}
	return len(p), nil
}

var errReadBack = errors.New("the disk does not return what was written")

// writeRecords gives the device its identity and its trust, and says what is
// in slot a. The trust is that of the old system: it moves on when the new
// one is committed.
func writeRecords(store *bootctl.Store, f *offer, o PrepareOptions, grub string) error {
	device, err := update.DeviceRecord{Product: f.manifest.Product, Compatible: o.Compatible, GrubVersion: grub}.Encode()
	if err != nil {
		return err
	}
	record, err := f.slotRecord()
	if err != nil {
		return err
	}
	return errors.Join(
		store.SetRecord(bootctl.RecordDevice, device),
		store.SetRecord(bootctl.RecordKeyring, o.Keyring.Marshal()),
		store.SetRecord(bootctl.RecordEpoch, []byte(strconv.FormatUint(o.Keyring.MinEpoch, 10))),
		store.SetRecord(bootctl.RecordSlotA, record),
	)
}

// slotRecord says of slot a: whole, and not tried yet.
func (f *offer) slotRecord() ([]byte, error) {
	r := update.SlotRecord{State: update.RecordWritten, InstalledAt: time.Now().Unix(), Envelope: f.envelope, Keyrings: f.keyrings}
	return r.Encode()
}

// changedBootFile returns the old system's file that is no more what was
// copied to abboot; "" when all are.
func (h *host) changedBootFile(j *Journal) (string, error) {
	for _, b := range j.BootFiles {
		if b.From == "" {
			continue
		}
		f, err := os.Open(filepath.Join(h.root, b.From))
		if errors.Is(err, fs.ErrNotExist) {
			return b.From, nil
		}
		if err != nil {
			return "", err
		}
		sum, _, err := hashFile(f)
		f.Close()
		if err != nil {
			return "", err
		}
		if sum != b.SHA256 {
			return b.From, nil
		}
	}
	return "", nil
}

// checkBootFiles reads the files of abboot by disk address.
func (j *Journal) checkBootFiles(disk blockdev.Device) error {
	for _, b := range j.BootFiles {
		sum, err := hashRegion(disk, b.At)
		if err != nil {
			return fmt.Errorf("%s in abboot: %w", b.Path, err)
		}
		if sum != b.SHA256 {
			return fmt.Errorf("%s in abboot: %w", b.Path, errReadBack)
		}
	}
	return nil
}

// hashRegion returns the SHA-256 of a part of the disk, read past the page
// cache.
func hashRegion(disk blockdev.Device, r Region) (string, error) {
	h := newRegionHash()
	err := h.add(disk, r)
	return h.sum(), err
}

// regionHash hashes parts of the disk one after another.
type regionHash struct {
	hash hash.Hash
	buf  []byte
}

func newRegionHash() *regionHash { return &regionHash{sha256.New(), blockdev.AlignedBuffer(1 << 20)} }

func (h *regionHash) sum() string { return hex.EncodeToString(h.hash.Sum(nil)) }

func (h *regionHash) add(disk blockdev.Device, r Region) error {
	for at := r.Start; at < r.End(); {
		n := min(int64(len(h.buf)), r.End()-at)
		whole := min(roundUp(n, sector), disk.Size()-at)
		if _, err := disk.ReadAt(h.buf[:whole], at); err != nil && err != io.EOF {
			return err
		}
		h.hash.Write(h.buf[:n])
		at += n
	}
	return nil
}
