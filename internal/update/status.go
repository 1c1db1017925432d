package update

import (
	"errors"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// Status is what `abupdate status --json` prints. Its fields are frozen:
// scripts read them.
type Status struct {
	FormatVersion int                   `json:"formatVersion"`
	Product       string                `json:"product"`
	Booted        string                `json:"booted"`
	Committed     bool                  `json:"committed"`
	Next          string                `json:"next"`
	Phase         string                `json:"phase"`
	Slots         map[string]SlotStatus `json:"slots"`
	Bootloader    BootloaderStatus      `json:"bootloader"`
	LastResult    *Result               `json:"lastResult"`
}

// SlotStatus is one slot in a Status.
type SlotStatus struct {
	Device      string    `json:"device"`
	PartUUID    string    `json:"partuuid"`
	Version     string    `json:"version"`
	State       SlotState `json:"state"`
	TriesLeft   int       `json:"triesLeft"`
	Digest      string    `json:"digest"`      // SHA-256 of the image, hexadecimal
	InstalledAt int64     `json:"installedAt"` // seconds since 1970 by a clock that may be wrong; 0: unknown
}

// BootloaderStatus tells whether the switch can be relied on.
type BootloaderStatus struct {
	Firmware string                `json:"firmware"`
	Env      [2]bootctl.CopyHealth `json:"env"`
	Ours     bool                  `json:"ours"`
}

// Status describes the device. It writes nothing.
func (u *Updater) Status() (Status, error) {
	f := u.facts
	_, env, err := u.dev.Store.State()
	if err != nil && !errors.Is(err, bootctl.ErrBothBroken) {
		return Status{}, err
	}
	next, err := u.dev.next()
	if err != nil {
		return Status{}, err
	}
	s := Status{
		FormatVersion: 1, Product: u.trust.Device.Product,
		Booted: f.Running.String(), Committed: f.Boot.Flags(f.Running).OK,
		Next: next.System.String(), Phase: f.Phase().String(),
		Slots:      make(map[string]SlotStatus),
		Bootloader: BootloaderStatus{Firmware: u.dev.Firmware(), Env: env, Ours: u.dev.Foreign == ""},
		LastResult: u.LastResult(),
	}
	for _, id := range slot.All {
		st := SlotStatus{State: f.SlotState(id), TriesLeft: f.Boot.Flags(id).Tries}
		if st.State != SlotOld { // whose partitions may have the number of slot b
			p, err := u.dev.partitionOf(id)
			if err != nil {
				return Status{}, err
			}
			st.Device, st.PartUUID = u.dev.nodes[p.Number].path, p.PartUUID
		}
		if sf := f.Slot(id); sf.Record != nil && st.State != SlotEmpty {
			st.Version, st.InstalledAt = sf.Manifest.Version, sf.Record.InstalledAt
			if im, ok := rootOf(sf.Manifest); ok {
				st.Digest = im.SHA256.String()
			}
		}
		s.Slots[id.String()] = st
	}
	return s, nil
}

// Region is one partition, for the drawing of the disk.
type Region struct {
	Number      int
	Name        string
	Start, Size int64 // bytes
}

// Disk returns the disk's size in bytes and its partitions in their order.
func (u *Updater) Disk() (size int64, parts []Region) {
	l := u.dev.Store.Layout()
	names := map[int]string{l.BootPart: "abboot", l.APart: "slot a", l.BPart: "slot b", l.DataPart: "data"}
	if u.facts.Migrating() { // numbers of slot b and data are the old system's still
		names[l.BPart], names[l.DataPart] = "old", "old"
	}
	for _, p := range u.dev.table.Parts {
		name := names[p.Number]
		if name == "" {
			name = p.Name
		}
		parts = append(parts, Region{p.Number, name, p.Start, p.Size})
	}
	return u.dev.disk.Size(), parts
}

// Firmware tells how the device boots: "uefi" or "bios".
func (d *Device) Firmware() string {
	if d.Live {
		return liveFirmware()
	}
	if d.table.Scheme == partition.GPT {
		return "uefi"
	}
	return "bios"
}
