package migrate

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/preserve"
)

// settle makes a journal out of an attempt whose places are those that the
// file system gave. It is called once slot a, abboot and the room for data
// are where they are.
func (a *attempt) settle(f *offer, host preserve.Host) (*Journal, error) {
	a.refusals, a.estimated = nil, false
	if a.placeEnd(); len(a.refusals) > 0 {
		return nil, &refused{a.refusals}
	}
	s := a.pl.s
	j := &Journal{
		Format: 1, Phase: PhasePreparing, Layout: a.pl.p.Layout, Tier: a.tier, Firmware: firmwareWord(s.Machine.Firmware),
		DiskID: s.Disk.Table.DiskID, DiskSize: s.Disk.Size, SlotSize: a.pl.p.SlotSize,
		Boot: Region{a.boot.Start, a.boot.Size}, A: Region{a.a.Start, a.a.Size},
		B: Region{a.b.from, a.b.size()}, Data: Region{a.dataSpan.from, a.dataSpan.size()},
		BootNumber: a.numbers.boot, ANumber: a.numbers.a, BNumber: a.numbers.b, DataNumber: a.numbers.data,
		DataMode: a.data.Mode, DataVolume: a.data.Volume, Trees: a.copiedTrees(), Old: oldVolumes(s), KeepOld: -1,
	}
	if a.copied != nil {
		j.Copy = Region{a.copied.Start, a.copied.Size}
	}
	for _, l := range host.Links {
		j.Links = append(j.Links, Link(l))
	}
	if err := j.makeTables(a); err != nil {
		return nil, err
	}
	data, _ := j.End.Part(j.DataNumber)
	j.DeviceArgs = deviceArgs(s.Machine.Cmdline, data)
	j.offered(f)
	return j, j.validate()
}

// offered notes the new system.
func (j *Journal) offered(f *offer) {
	j.Product, j.Version = f.manifest.Product, f.manifest.Version
	j.ImageSize, j.ImageSHA256, j.ImageArgs = f.root.Size, f.root.SHA256.String(), f.root.KernelArgs
}

func firmwareWord(f Firmware) string {
	if f == UEFI {
		return "uefi"
	}
	return "bios"
}

// copiedTrees are the customers' trees that do not stay where they are.
func (a *attempt) copiedTrees() []CopiedTree {
	var out []CopiedTree
	for i, t := range a.data.Trees {
		stays := a.data.keep != nil && a.pl.s.Trees[i].Volume == a.data.keep.Name
		if t.Fate == FateCarried && !stays {
			out = append(out, CopiedTree{Path: t.Path, Bytes: t.Bytes})
		}
	}
	return out
}

// oldVolumes are all that finish has to make unrecognisable, and among them
// the file systems that the migrator reads: those with a mount point.
func oldVolumes(s *Survey) []OldVolume {
	var out []OldVolume
	for _, v := range s.Volumes {
		switch v.Content.Kind {
		case KindFilesystem, KindSwap, KindLVM:
			out = append(out, OldVolume{Name: v.Name, Mount: v.Mount, Filesystem: v.Content.Format, Map: v.Map})
		case KindUnknown, KindEmpty, KindFAT, KindLUKS, KindRAID, KindBIOSBoot, KindExtended:
		}
	}
	return out
}

// makeTables makes the partition tables of the trial and of the end. New
// partitions have the same number and PARTUUID in both: grub.cfg is written
// once with them.
func (j *Journal) makeTables(a *attempt) error {
	old := a.pl.s.Disk.Table
	trial := &partition.Table{Scheme: old.Scheme, DiskID: old.DiskID}
	end := &partition.Table{Scheme: old.Scheme, DiskID: old.DiskID}
	active := false
	for _, p := range old.Parts {
		if p.Number == a.sw.Borrowed {
			continue
		}
		trial.Parts = append(trial.Parts, p)
		active = active || p.Active
		if a.pl.s.keptPart(p) {
			end.Parts = append(end.Parts, p)
		}
	}
	made := []struct {
		number int
		at     Region
		name   string
		trial  bool
	}{
		{j.BootNumber, j.Boot, "abboot", true},
		{j.ANumber, j.A, "slot-a", true},
		{j.BNumber, j.B, "slot-b", false},
		{j.DataNumber, j.Data, "data", false},
	}
	for _, m := range made {
		p := partition.Part{Number: m.number, Start: m.at.Start, Size: m.at.Size}
		if old.Scheme == partition.MBR {
			p.Type, p.PartUUID = partition.TypeMBRLinux, fmt.Sprintf("%s-%02x", old.DiskID, m.number)
		} else {
			p.Type, p.Name = partition.TypeLinux, m.name
			p.PartUUID = newGUID()
			if kept, ok := old.Part(m.number); ok { // data that stays where it is
				p.PartUUID = kept.PartUUID
			}
		}
		// Some BIOSes boot from no disk without an active partition.
		first := old.Scheme == partition.MBR && m.number == j.BootNumber
		if p.Active = first && !active; m.trial {
			trial.Parts = append(trial.Parts, p)
		}
		p.Active = first
		end.Parts = append(end.Parts, p)
	}
	for _, t := range []*partition.Table{trial, end} {
		slices.SortFunc(t.Parts, func(a, b partition.Part) int { return a.Number - b.Number })
	}
	j.Trial, j.End = trial, end
	return nil
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() (u [16]byte) {
	_, _ = rand.Read(u[:]) // never fails (crypto/rand)
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return u
}

func newGUID() string { u := newUUID(); return uuidText(u[:]) }

func newDiskID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// The words of grub.cfg, which an old system that our GRUB has booted finds on
// its command line beside its own.
var loaderWords = []string{"panic=10", "oops=panic", "rd.shell=0", "rd.emergency=reboot", "gpt"}

// offTheOldDisk keeps the new system's hands off the old one's volumes: it
// must neither activate a volume group nor find a partition by its type.
const offTheOldDisk = "rd.lvm=0 rd.md=0 rd.dm=0 rd.luks=0 systemd.gpt_auto=0"

// oldArgs returns the old system's own kernel arguments, from the command line
// that it runs with.
func oldArgs(cmdline string) string {
	var own []string
	for word := range strings.FieldsSeq(cmdline) {
		switch {
		case strings.HasPrefix(word, "BOOT_IMAGE="), strings.HasPrefix(word, "initrd="), strings.HasPrefix(word, "ab."), slices.Contains(loaderWords, word):
		default:
			own = append(own, word)
		}
	}
	return strings.Join(own, " ")
}

// migratorArgs are the migrator's kernel arguments. Without SELinux: a kernel
// with it does not let labels be set that no loaded policy knows.
func migratorArgs(cmdline string) string {
	return strings.TrimSpace(pickWords(cmdline, "console=") + " selinux=0")
}

// deviceArgs are the kernel arguments that the device keeps with the new
// system: its consoles, and the names of its interfaces.
func deviceArgs(cmdline string, data partition.Part) string {
	words := []string{pickWords(cmdline, "console=", "net.ifnames=", "biosdevname="), offTheOldDisk, bootctl.DataArg(data.PartUUID, data.Start)}
	return strings.TrimSpace(strings.Join(words, " "))
}

func pickWords(cmdline string, prefixes ...string) string {
	var out []string
	for word := range strings.FieldsSeq(cmdline) {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(word, p) }) {
			out = append(out, word)
		}
	}
	return strings.Join(out, " ")
}
