package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/provision"
)

// simulated is a prepared migration on a disk that loses power.
type simulated struct {
	t    *testing.T
	h    *host
	base *blockdevtest.Disk
	j    *Journal
	old  *partition.Table
	code []byte // the old loader's
}

// uncloseable gives a simulated disk the Close of a real one.
type uncloseable struct{ *blockdevtest.Disk }

func (uncloseable) Close() error { return nil }

// newSimulated makes the disk of an old system. Abboot and slot a lie in the
// middle of its last partition, or, with a GPT, behind that.
func newSimulated(t *testing.T, scheme partition.Scheme) *simulated {
	t.Helper()
	s := &simulated{t: t, base: blockdevtest.New(96*mib, sector), code: bytes.Repeat([]byte{0x0D}, partition.BootCodeSize)}
	s.base.SetPhysicalSector(4096)
	s.old = &partition.Table{Scheme: scheme, DiskID: "000c0001", Parts: []partition.Part{
		{Number: 1, Start: mib, Size: 4 * mib, Type: "83", Active: true, PartUUID: "000c0001-01"}, {Number: 2, Start: 5 * mib, Size: 90 * mib, Type: "83", PartUUID: "000c0001-02"},
	}}
	if scheme == partition.GPT {
		s.old.DiskID = newGUID()
		for i := range s.old.Parts {
			p := &s.old.Parts[i]
			p.Type, p.PartUUID, p.Active = partition.TypeLinux, newGUID(), false
		}
		s.old.Parts[1].Size = 22 * mib // abboot and slot a are in no partition
	}
	if err := partition.Write(s.base, s.old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.base.WriteAt(s.code, 0); err != nil {
		t.Fatal(err)
	}
	proc := t.TempDir()
	s.h = &host{root: t.TempDir(), proc: proc}
	s.settle()
	s.fill()
	s.base = s.base.Clone()
	return s
}

// settle places everything as prepare would.
func (s *simulated) settle() {
	j := &Journal{
		Format: 1, Phase: PhasePrepared, Layout: L3, Tier: Carve, Firmware: "bios", DiskID: s.old.DiskID, DiskSize: s.base.Size(), SlotSize: 16 * mib,
		Boot: Region{30 * mib, 24 * mib}, A: Region{60 * mib, 16 * mib}, B: Region{10 * mib, 16 * mib}, Data: Region{80 * mib, 8 * mib},
		BootNumber: 3, ANumber: 4, BNumber: 5, DataNumber: 6, DataMode: DataNew, KeepOld: -1, DeviceArgs: "console=ttyS0",
		Product: "gateway", Version: "2.0.0", ImageSize: mib, ImageSHA256: hashBytes(make([]byte, mib)),
		Old: []OldVolume{{Name: "partition 2", Mount: "/", Filesystem: "xfs", Map: partition.DeviceMap{{Disk: 5 * mib, Len: s.old.Parts[1].Size}}}},
	}
	if s.old.Scheme == partition.MBR {
		j.BNumber, j.DataNumber = 1, 2
	}
	a := &attempt{pl: &placer{s: &Survey{Disk: Disk{Table: s.old}}}}
	if err := j.makeTables(a); err != nil {
		s.t.Fatal(err)
	}
	s.j = j
}

// fill writes abboot.
func (s *simulated) fill() {
	boot, core := make([]byte, sector), make([]byte, 20*sector)
	boot[510], boot[511] = 0x55, 0xAA
	le.PutUint16(core[coreListSegment:], coreSegment)
	dir := s.t.TempDir()
	var files []bootSource
	for _, name := range []string{"/old/vmlinuz", "/old/initramfs", "/migrator/vmlinuz", "/migrator/initramfs"} {
		path := filepath.Join(dir, filepath.Base(filepath.Dir(name))+filepath.Base(name))
		if err := os.WriteFile(path, []byte("content of "+name), 0o600); err != nil {
			s.t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			s.t.Fatal(err)
		}
		b := bootSource{BootFile: BootFile{Path: name}, content: f, file: f}
		if b.SHA256, b.At.Size, err = hashFile(f); err != nil {
			s.t.Fatal(err)
		}
		files = append(files, b)
	}
	defer closeBootFiles(files)
	key, err := bundle.GenerateKey(bundle.Ed25519)
	if err != nil {
		s.t.Fatal(err)
	}
	ring, err := bundle.NewKeyring(1)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ring.Add(key.Public()); err != nil {
		s.t.Fatal(err)
	}
	offered := &offer{
		envelope: []byte("{}"), keyrings: []byte("[]"), manifest: &bundle.Manifest{Product: "gateway", Version: "2.0.0"},
		boot: &provision.BootImage{GrubVersion: "2.06", Commands: bootctl.CommandsLinux, BIOS: &provision.BIOSLoader{Boot: boot, Core: core}},
	}
	region, err := blockdev.Section(s.base, s.j.Boot.Start, s.j.Boot.Size)
	if err != nil {
		s.t.Fatal(err)
	}
	o := PrepareOptions{Keyring: ring, Compatible: "gw", Progress: func(string, int64, int64) {}}
	if err := s.j.writeAbboot(region, s.base, offered, o, files); err != nil {
		s.t.Fatal(err)
	}
}

// survey is that of the disk as it is now.
func (s *simulated) survey(d *blockdevtest.Disk) (*Survey, error) {
	table, err := partition.Read(d)
	return &Survey{
		Machine: Machine{Cmdline: "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro console=ttyS0"},
		Disk:    Disk{Table: table, Size: d.Size()}, Volumes: []Volume{{Name: "partition 2", Mount: "/", Map: s.j.Old[0].Map}},
	}, err
}

// start is the part of start that writes, from the journal that is a file.
func (s *simulated) start(d *blockdevtest.Disk) error {
	survey, err := s.survey(d)
	if err != nil {
		return err
	}
	j := *s.j
	if was, err := s.h.readJournalFile(); err == nil && was != nil {
		j = *was
	}
	st := &starting{host: s.h, o: startOptions(), survey: survey, disk: uncloseable{d}, j: &j}
	if st.store, err = bootctl.Open(d, j.StateOff); err != nil {
		return err
	}
	return st.takeCharge()
}

func startOptions() StartOptions {
	return StartOptions{KeepOld: -1, Parity: func(*bootctl.Store) error { return nil }, Progress: func(string, int64, int64) {}}
}

// abort is the part of abort that writes, with the journal of whoever is in
// charge.
func (s *simulated) abort(d *blockdevtest.Disk) error {
	survey, err := s.survey(d)
	if err != nil {
		return err
	}
	j, err := s.h.readJournalFile()
	if err != nil || j == nil {
		return err
	}
	return s.h.takeBack(survey, uncloseable{d}, j)
}

// whoBoots says what the disk would boot, and fails where that is nothing, or
// waits for a hand.
func (s *simulated) whoBoots(d *blockdevtest.Disk) (string, error) {
	code := make([]byte, partition.BootCodeSize)
	if _, err := d.ReadAt(code, 0); err != nil {
		return "", err
	}
	table, err := partition.Read(d)
	if err != nil {
		return "", err
	}
	if table.Scheme == partition.GPT && table.Primary != partition.CopyGood {
		return "", fmt.Errorf("the primary GPT is %v", table.Primary)
	}
	for _, p := range s.old.Parts {
		if now, ok := table.Part(p.Number); !ok || now.Start != p.Start || now.Size != p.Size || now.PartUUID != p.PartUUID {
			return "", fmt.Errorf("the old system's partition %d is %+v", p.Number, now)
		}
	}
	if bytes.Equal(code, s.code) {
		return "old loader", nil
	}
	if !bytes.Equal(code, s.j.BootCode) {
		return "", errors.New("the boot code is neither loader's")
	}
	if !sameParts(table, s.j.Trial) {
		return "", errors.New("our boot code finds another table than the trial's")
	}
	if err := s.j.checkBootFiles(d); err != nil {
		return "", err
	}
	store, err := bootctl.Open(d, s.j.StateOff)
	if err != nil {
		return "", err
	}
	loadable := []bootctl.System{bootctl.SystemOld, bootctl.SystemMigrator}
	m := bootmodel.Machine{Dev: d, Layout: store.Layout(), Files: func(sys bootctl.System) bootmodel.Files {
		if slices.Contains(loadable, sys) {
			return bootmodel.Loadable
		}
		return bootmodel.Missing
	}}
	o := m.BootFully()
	if o.System == bootctl.SystemMigrator {
		j, err := RecordedJournal(store)
		if err != nil || j.Phase != PhaseStarted || len(j.Undo) == 0 {
			return "", fmt.Errorf("the migrator finds the journal %+v, %w", j, err)
		}
	}
	return o.System.String(), nil
}

var schemes = map[string]partition.Scheme{"MBR": partition.MBR, "GPT": partition.GPT}

// TestCrashStart cuts the power at every write of start and, from what that
// leaves, of a second start: the old loader boots the old system, or our GRUB
// boots the migrator. Nothing else ever.
func TestCrashStart(t *testing.T) {
	for name, scheme := range schemes {
		t.Run(name, func(t *testing.T) {
			s := newSimulated(t, scheme)
			found := map[string]int{}
			blockdevtest.Campaign{
				Base: s.base, Run: s.start, Recover: s.start, Recoveries: 60,
				Check: func(c blockdevtest.Crash) error {
					who, err := s.whoBoots(c.Disk)
					if err != nil {
						return err
					}
					found[who]++
					if who != "old loader" && who != "mig" {
						return fmt.Errorf("it boots %s", who)
					}
					if c.Done && who != "mig" {
						return fmt.Errorf("after start it boots %s", who)
					}
					return nil
				},
				Excuse: tornTable(scheme),
			}.Test(t)
			if found["old loader"] == 0 || found["mig"] == 0 {
				t.Errorf("cuts never reached both sides: %v", found)
			}
		})
	}
}

// tornTable: sector 1 shares its 4 KiB with sector 0 and with the first
// entries, and no order of writes helps against losing all three.
func tornTable(scheme partition.Scheme) string {
	if scheme == partition.GPT {
		return "the primary GPT and sector 0 share a physical sector"
	}
	return "sector 0 is the partition table"
}

// TestCrashAbort cuts the power at every write of taking a start back, and of
// doing so again: the old system boots by either loader, or the migrator does
// while nothing has been taken back yet; in the end the disk's first and last
// sectors are what they were.
func TestCrashAbort(t *testing.T) {
	for name, scheme := range schemes {
		t.Run(name, func(t *testing.T) {
			s := newSimulated(t, scheme)
			before := s.base.Clone()
			started := s.base.Clone()
			if err := s.start(started); err != nil {
				t.Fatal(err)
			}
			store, err := bootctl.Open(started, s.j.StateOff)
			if err != nil {
				t.Fatal(err)
			}
			state, _, err := store.State()
			if err != nil {
				t.Fatal(err)
			}
			if err := store.SetState(bootctl.BackToOld(state)); err != nil {
				t.Fatal(err)
			}
			blockdevtest.Campaign{
				Base: started.Clone(), Run: s.abort, Recover: s.abort, Recoveries: 60,
				Check: func(c blockdevtest.Crash) error {
					who, err := s.whoBoots(c.Disk)
					switch {
					case err != nil:
						return err
					case who != "old loader" && who != "old":
						return fmt.Errorf("it boots %s", who)
					case !c.Done:
						return nil
					}
					// In a partition it is the file's blocks, which go with the file.
					if _, err := bootctl.Open(c.Disk, s.j.StateOff); err == nil && scheme == partition.GPT {
						return errors.New("the state file is still recognised")
					}
					return s.sameEnds(c.Disk, before)
				},
				Excuse: tornTable(scheme),
			}.Test(t)
		})
	}
}

// sameEnds compares what a partition table may take of a disk.
func (s *simulated) sameEnds(d, want *blockdevtest.Disk) error {
	for _, at := range []int64{0, d.Size() - 64*sector} {
		a, b := make([]byte, 67*sector), make([]byte, 67*sector)
		n := min(int64(len(a)), d.Size()-at)
		if _, err := d.ReadAt(a[:n], at); err != nil {
			return err
		}
		if _, err := want.ReadAt(b[:n], at); err != nil {
			return err
		}
		for i := range a {
			if a[i] != b[i] {
				return fmt.Errorf("byte %d of the disk is not what it was", at+int64(i))
			}
		}
	}
	return nil
}
