package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/partition"
)

// ErrRefused is wrapped by the error of a plan that cannot be: exit code 60.
var ErrRefused = errors.New("migration refused")

// Sizes that are not the user's choice.
const (
	mib = int64(1) << 20
	gib = int64(1) << 30

	abbootSize = 256 * mib
	// DefaultSlotSize is the size of a slot when neither the user nor a
	// bundle says another.
	DefaultSlotSize = 1536 * mib
	minDataSize     = 64 * mib
	align           = mib // of everything the plan places
	// oldReserve stays free in the old root file system: the old system must
	// be able to run, and to be gone back to.
	oldReserve = 256 * mib
	// archiveSize bounds the archive of the preserve set.
	archiveSize = 64 * mib
	// espNeed is room for our loader on the ESP.
	espNeed = 8 * mib
)

// Options are the user's choices.
type Options struct {
	SlotSize int64 // 0: by the bundle, else DefaultSlotSize
	Tier     Tier  // 0: carve if it works, else gather
	Bundle   *Bundle
}

// Bundle is what the plan takes from the manifest of the new system. Its
// signature counts in prepare, not here.
type Bundle struct {
	Product    string `json:"product"`
	Version    string `json:"version"`
	ImageSize  int64  `json:"imageSize"`
	Compressed int64  `json:"compressedSize"` // of the whole bundle
	CPULevel   int    `json:"cpuLevel,omitempty"`
	Filesystem string `json:"filesystem,omitempty"`
	Boot       bool   `json:"boot"` // it brings a boot loader
}

// Plan says what a migration would do. It is a pure function of a Survey and
// Options; with Refusals there is no migration, and Trial and End are empty.
type Plan struct {
	Layout   Layout  `json:"layout,omitempty"`
	Tier     Tier    `json:"tier,omitempty"`
	SlotSize int64   `json:"slotSize"`
	Bundle   *Bundle `json:"bundle,omitempty"`
	System   System  `json:"system"`

	Now   []Entry `json:"now"`
	Trial []Entry `json:"trial,omitempty"`
	End   []Entry `json:"end,omitempty"`

	Boot   *Placement `json:"abboot,omitempty"`
	A      *Placement `json:"slotA,omitempty"`
	Switch *Switch    `json:"switch,omitempty"`
	Data   *Data      `json:"data,omitempty"`
	Time   *Time      `json:"time,omitempty"`

	Preserved []string  `json:"preserved"`
	Refusals  []Refusal `json:"refusals"`
	Notes     []string  `json:"notes"`
	Unseen    []string  `json:"unseen"`
}

// System is the old system, for people to recognise.
type System struct {
	// Live: it runs, so its files could be looked at.
	Live     bool   `json:"live"`
	Disk     string `json:"disk"`
	Size     int64  `json:"size"`
	OS       string `json:"os,omitempty"`
	Kernel   string `json:"kernel,omitempty"`
	Firmware string `json:"firmware"`
	CPULevel int    `json:"cpuLevel,omitempty"`
	RAM      int64  `json:"ram,omitempty"`
	Loader   string `json:"loader"`
}

// Placement is where something new will lie.
type Placement struct {
	Source Source `json:"source"`
	Volume string `json:"volume,omitempty"` // group or file system that it is taken from
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	// Estimated: prepare will know the address; this is only an example.
	Estimated bool `json:"estimated,omitempty"`
}

// End is the first byte behind the placement.
func (p *Placement) End() int64 { return p.Start + p.Size }

// Source is what room is taken from.
type Source string

// The sources, in the order of preference.
const (
	SourceDisk  Source = "disk"  // space in no partition
	SourceGroup Source = "group" // space in no logical volume
	SourceFile  Source = "file"  // a file in the old root file system
)

// Switch is the one write that puts our GRUB in charge, and its preparation.
type Switch struct {
	Write string `json:"write"` // the sector, or the firmware's variable
	Core  string `json:"core,omitempty"`
	// Entries is the place of the second GPT entry array, in bytes; 0 on MBR.
	Entries int64 `json:"entries,omitempty"`
	// Borrowed is the number of the swap partition whose MBR entry is used
	// during the trial; 0: none.
	Borrowed int `json:"borrowedEntry,omitempty"`
}

// Time is an estimate in seconds, from a disk that writes 100 MB/s.
type Time struct {
	Prepare int64 `json:"prepareSeconds"` // while the old system works
	Down    int64 `json:"downSeconds"`    // from the reboot to the new system
}

// Layout is the kind of disk that the old system has.
type Layout string

// The layouts.
const (
	L1 Layout = "L1" // MBR, LVM
	L2 Layout = "L2" // MBR, plain partitions
	L3 Layout = "L3" // MBR, one root partition without /boot
	L4 Layout = "L4" // GPT, LVM
	L5 Layout = "L5" // GPT, plain partitions
)

// Tier is the way to migrate.
type Tier string

// The tiers.
const (
	Carve  Tier = "carve"
	Gather Tier = "gather"
)

// ParseTier reads the name of a tier.
func ParseTier(s string) (Tier, error) {
	if t := Tier(s); t == Carve || t == Gather {
		return t, nil
	}
	return "", fmt.Errorf("tier %q: must be carve or gather", s)
}

// Refusal is one reason against the migration.
type Refusal struct {
	// Code is a stable word for programs.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Next is what the user can do; empty: nothing on this device.
	Next string `json:"next,omitempty"`
}

func (p *Plan) refuse(code, next, format string, args ...any) {
	r := Refusal{Code: code, Next: next, Reason: fmt.Sprintf(format, args...)}
	if !slices.Contains(p.Refusals, r) {
		p.Refusals = append(p.Refusals, r)
	}
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// Err returns nil, or an error that wraps ErrRefused and has all reasons.
func (p *Plan) Err() error {
	if len(p.Refusals) == 0 {
		return nil
	}
	return &refused{p.Refusals}
}

type refused struct{ refusals []Refusal }

func (r *refused) Error() string {
	reasons := make([]string, len(r.refusals))
	for i, x := range r.refusals {
		reasons[i] = x.Reason
	}
	return fmt.Sprintf("%v: %s", ErrRefused, strings.Join(reasons, "; "))
}

func (r *refused) Unwrap() error { return ErrRefused }

// Hint is the first thing that the user can do.
func (r *refused) Hint() string {
	for _, x := range r.refusals {
		if x.Next != "" {
			return x.Next
		}
	}
	return "nothing was changed, and the device goes on as it is"
}

// NewPlan plans the migration of a surveyed machine.
func NewPlan(s *Survey, o Options) *Plan {
	p, _ := newPlan(s, o)
	return p
}

// newPlan also returns how everything was placed; nil with refusals.
func newPlan(s *Survey, o Options) (*Plan, *attempt) {
	p := &Plan{
		SlotSize: slotSize(o), Bundle: o.Bundle, System: systemOf(s),
		Preserved: preserved(s), Unseen: slices.Clone(s.Unseen),
		Now: drawNow(s),
	}
	if p.refuseDisk(s); len(p.Refusals) > 0 {
		return p.complete(), nil
	}
	p.Layout = layoutOf(s)
	p.refuseSystem(s)
	p.refuseBundle(s)
	pl := &placer{p: p, s: s, root: s.Root()}
	if pl.root != nil {
		pl.place(o.Tier)
	}
	if len(p.Refusals) > 0 {
		p.Tier, p.Boot, p.A, p.Switch, p.Data = "", nil, nil, nil, nil
		return p.complete(), nil
	}
	p.Trial, p.End = pl.drawTrial(), pl.drawEnd()
	p.Time = estimate(p)
	return p.complete(), pl.done
}

// complete makes lists out of what would be null in JSON.
func (p *Plan) complete() *Plan {
	for _, list := range []*[]string{&p.Notes, &p.Unseen, &p.Preserved} {
		if *list == nil {
			*list = []string{}
		}
	}
	if p.Refusals == nil {
		p.Refusals = []Refusal{}
	}
	if p.Now == nil {
		p.Now = []Entry{}
	}
	return p
}

// slotSize chooses the size of a slot. It can never change, so a bundle's
// image gets half as much again for the versions to come.
func slotSize(o Options) int64 {
	switch {
	case o.SlotSize != 0:
		return o.SlotSize
	case o.Bundle != nil:
		return roundUp(o.Bundle.ImageSize/2*3, 64*mib)
	}
	return DefaultSlotSize
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

func systemOf(s *Survey) System {
	sys := System{
		Live: s.Live, Disk: s.Disk.Name, Size: s.Disk.Size, OS: s.Machine.OS, Kernel: s.Machine.Kernel,
		Firmware: s.Machine.Firmware.String(), CPULevel: s.Machine.CPULevel, RAM: s.Machine.RAM,
	}
	l := s.Disk.Loader
	switch {
	case l.CoreEnd > 0:
		sys.Loader = fmt.Sprintf("GRUB in sector 0, core.img in sectors [%d, %d)", l.CoreStart/sector, l.CoreEnd/sector)
	case l.GRUB:
		sys.Loader = "GRUB in sector 0"
	case len(l.VendorDirs) > 0:
		sys.Loader = "on the ESP: EFI/" + strings.Join(l.VendorDirs, ", EFI/")
	case s.Machine.Firmware == UEFI:
		sys.Loader = "on the ESP"
	default:
		sys.Loader = "not known"
	}
	return sys
}

// preserved says what configuration comes over.
func preserved(s *Survey) []string {
	list := []string{
		"addresses, routes, DNS and hostname", "users, groups and passwords", "SSH host keys, authorized keys and login rules",
		"time zone, time servers, firewall, sudo, cron, sysctl and CA certificates",
	}
	return append(list, s.Carried...)
}

// layoutOf tells the layout of a disk with a usable table and a root file
// system.
func layoutOf(s *Survey) Layout {
	root := s.Root()
	switch {
	case s.Disk.Table.Scheme == partition.GPT && root.Logical():
		return L4
	case s.Disk.Table.Scheme == partition.GPT:
		return L5
	case root.Logical():
		return L1
	case s.mounted("/boot") == nil:
		return L3
	}
	return L2
}
