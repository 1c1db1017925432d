package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/abupdate/abupdate/internal/partition"
)

// ErrJournal is wrapped by the error for a journal that cannot be read.
var ErrJournal = errors.New("migration journal")

// Phase is how far a migration has come.
type Phase string

// The phases. What each of them means to GRUB is said by the boot state; the
// journal never decides what boots.
const (
	// PhasePreparing: prepare is at work, or was interrupted. The old system
	// and its loader are as they were.
	PhasePreparing Phase = "preparing"
	// PhasePrepared: everything lies ready; only start is missing.
	PhasePrepared Phase = "prepared"
	// PhaseStarted: our GRUB is in charge, and the migrator's turn is next.
	PhaseStarted Phase = "started"
	// PhaseStreaming: gather has passed the point of no return, and the new
	// system is not complete yet.
	PhaseStreaming Phase = "streaming"
	// PhaseTrial: the new system is complete and has its trial.
	PhaseTrial Phase = "trial"
	// PhaseFailed: the old system is back; Reason says why.
	PhaseFailed Phase = "failed"
	// PhaseCommitted: the new system is good; the old one is still there.
	PhaseCommitted Phase = "committed"
	// PhaseFinishing: finish has passed the point of no return.
	PhaseFinishing Phase = "finishing"
	// PhaseDone: the disk is as the plan drew it for the end.
	PhaseDone Phase = "done"
)

var phases = []Phase{PhasePreparing, PhasePrepared, PhaseStarted, PhaseStreaming, PhaseTrial, PhaseFailed, PhaseCommitted, PhaseFinishing, PhaseDone}

// Region is the bytes [Start, Start+Size) of the disk.
type Region struct {
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
}

// End is the first byte behind the region.
func (r Region) End() int64 { return r.Start + r.Size }

// OldVolume is a file system of the old system, for the migrator to read and
// for finish to wipe.
type OldVolume struct {
	Name string `json:"name"` // as in Survey
	// Mount is its mount point in the old system.
	Mount      string              `json:"mount"`
	Filesystem string              `json:"filesystem"`
	Map        partition.DeviceMap `json:"map"`
}

// CopiedTree is a tree of customers' data that the migrator copies into the
// data partition, under its old path.
type CopiedTree struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// Link is a network interface of the old system: names may change, MACs stay.
type Link struct {
	Name string `json:"name"`
	MAC  string `json:"mac"`
}

// Journal is all that a migration knows about itself. While the old loader is
// in charge it is a file of the old system (JournalPath); from the switch on
// it is the record RecordJournal of the state file, and the file is ignored.
type Journal struct {
	Format int   `json:"format"` // 1
	Phase  Phase `json:"phase"`

	Layout   Layout `json:"layout"`
	Tier     Tier   `json:"tier"`
	Firmware string `json:"firmware"` // "bios" or "uefi"
	DiskID   string `json:"diskID"`   // of the partition table
	DiskSize int64  `json:"diskSize"`
	SlotSize int64  `json:"slotSize"`

	// Where everything lies, and the numbers of the partitions.
	Boot       Region `json:"boot"`
	A          Region `json:"a"`
	B          Region `json:"b"`
	Data       Region `json:"data"`
	BootNumber int    `json:"bootNumber"`
	ANumber    int    `json:"aNumber"`
	BNumber    int    `json:"bNumber"`
	DataNumber int    `json:"dataNumber"`

	DataMode DataMode `json:"dataMode"`
	// Copy is the beginning of Data, with DataCopy: the room that was made for
	// the copies. What follows is the old system's as long as that may come back.
	Copy       Region       `json:"copy,omitzero"`
	DataVolume string       `json:"dataVolume,omitempty"` // DataInPlace: name of an OldVolume
	Trees      []CopiedTree `json:"trees,omitempty"`

	// Carried: DataVolume has complete copies of Trees.
	Carried bool `json:"carried,omitempty"`

	// Trial and End are the partition tables. Undo is what the switch has
	// overwritten; abort writes it back in this order.
	Trial *partition.Table `json:"trial"`
	End   *partition.Table `json:"end"`
	Undo  []SavedSectors   `json:"undo,omitempty"`

	// Old are the file systems of the old system that are on this disk.
	Old   []OldVolume `json:"old"`
	Links []Link      `json:"links"`

	Product     string `json:"product"`
	Version     string `json:"version"`
	ImageSize   int64  `json:"imageSize"`
	ImageSHA256 string `json:"imageSHA256"` // hex
	// DeviceArgs go to slot a's args block.
	DeviceArgs string `json:"deviceArgs"`
	ImageArgs  string `json:"imageArgs"`

	// StateOff is the byte of the disk that abboot's state file begins at.
	StateOff int64 `json:"stateOff,omitempty"`
	// BootCode is our loader's part of the first sector; empty on UEFI.
	BootCode []byte `json:"bootCode,omitempty"`
	// EFILoader is the SHA-256 of our loader on the ESP; empty on BIOS.
	EFILoader string `json:"efiLoader,omitempty"`
	// BootFiles are the large files of abboot: the old system's kernel and
	// initramfs and those of the migrator.
	BootFiles []BootFile `json:"bootFiles,omitempty"`

	// Stage tells where gather has laid the bundle and the archive.
	Stage *Stage `json:"stage,omitempty"`

	// Restoring: the migrator has found slot a whole and is changing its files,
	// so its hash says nothing any more. Set back with every new image in it.
	Restoring bool `json:"restoring,omitempty"`
	// Failures counts, behind the point of no return of gather, the trials and
	// turns of the migrator that have failed.
	Failures int `json:"failures,omitempty"`
	// CountedSeq is the boot state whose failed trial Failures has in it: the
	// turns after that trial may be cut again and again, and it was one failure.
	CountedSeq uint32 `json:"countedSeq,omitempty"`
	// Attempts counts how often the migrator has begun.
	Attempts int `json:"attempts"`
	// Reason says, for people, why the last attempt failed.
	Reason string `json:"reason,omitempty"`
	// Log is the end of the migrator's log.
	Log string `json:"log,omitempty"`
	// FinishAt: finish goes by itself from this time on, seconds since 1970;
	// 0: when the user says so.
	FinishAt int64 `json:"finishAt,omitempty"`
	// KeepOld is the number of days, given to start, that FinishAt is set from
	// when the new system is committed; -1: the user finishes.
	KeepOld int `json:"keepOld"`
}

// BootFile is a file that was copied into abboot.
type BootFile struct {
	Path string `json:"path"` // in abboot
	// From is the file of the old system that it is a copy of; "": it was
	// made for the migration.
	From   string `json:"from,omitempty"`
	At     Region `json:"at"` // on the disk; Size is the file's, not whole sectors
	SHA256 string `json:"sha256"`
}

// SavedSectors are bytes of the disk before the migration changed them.
type SavedSectors struct {
	Off   int64  `json:"off"`
	Bytes []byte `json:"bytes"`
}

// Stage is what gather streams from. Its maps may have thousands of runs, so
// they lie in a file of abboot, written before the switch and never changed.
type Stage struct {
	// Map is the place of the file on the disk: a StageMap in JSON.
	Map           Region `json:"map"`
	MapSHA256     string `json:"mapSHA256"` // hex
	BundleSize    int64  `json:"bundleSize"`
	ArchiveSize   int64  `json:"archiveSize,omitempty"` // 0: none captured yet
	ArchiveSHA256 string `json:"archiveSHA256,omitempty"`
}

// StageMap says where the bundle and the room for the preserve archive lie.
type StageMap struct {
	Bundle  partition.DeviceMap `json:"bundle"`
	Archive partition.DeviceMap `json:"archive"`
}

// Limits of a journal, so that it fits its record with both of its texts.
const (
	maxJournal = 60 << 10
	maxLog     = 16 << 10
	maxReason  = 2 << 10
)

// Encode returns the journal as it is stored. Log and Reason are cut to their
// limits, the log at its beginning.
func (j *Journal) Encode() ([]byte, error) {
	c := *j
	c.Format = 1
	if len(c.Log) > maxLog {
		c.Log = c.Log[len(c.Log)-maxLog:]
	}
	if len(c.Reason) > maxReason {
		c.Reason = c.Reason[:maxReason]
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if len(b) > maxJournal {
		return nil, fmt.Errorf("%w: %d bytes, more than %d: the old system's volumes lie in too many pieces", ErrJournal, len(b), maxJournal)
	}
	return b, nil
}

// ParseJournal reads what Encode wrote.
func ParseJournal(b []byte) (*Journal, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrJournal)
	}
	if len(b) > maxJournal {
		return nil, fmt.Errorf("%w: %d bytes", ErrJournal, len(b))
	}
	j := &Journal{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more than one value", ErrJournal)
	}
	return j, j.validate()
}

// validate refuses a journal whose places could make anyone write outside of
// the disk, or over abboot.
func (j *Journal) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrJournal, fmt.Sprintf(format, args...))
	}
	switch {
	case j.Format != 1:
		return bad("format %d is unknown", j.Format)
	case !slices.Contains(phases, j.Phase):
		return bad("phase %q is unknown", j.Phase)
	case j.Tier != Carve && j.Tier != Gather:
		return bad("tier %q is unknown", j.Tier)
	}
	if j.Phase == PhasePreparing && j.Boot == (Region{}) {
		return nil // places are not settled yet
	}
	for name, r := range map[string]Region{"abboot": j.Boot, "slot a": j.A, "slot b": j.B, "data": j.Data} {
		if r.Start < sector || r.Size <= 0 || r.Size > j.DiskSize || r.Start > j.DiskSize-r.Size || r.Start%sector != 0 || r.Size%sector != 0 {
			return bad("%s at [%d, %d) of a disk of %d bytes", name, r.Start, r.Start+r.Size, j.DiskSize)
		}
	}
	if j.Copy != (Region{}) && (j.Copy.Start != j.Data.Start || j.Copy.Size <= 0 || j.Copy.Size > j.Data.Size) {
		return bad("room for copies at [%d, %d), data at [%d, %d)", j.Copy.Start, j.Copy.End(), j.Data.Start, j.Data.End())
	}
	all := []Region{j.Boot, j.A, j.B, j.Data}
	for i, r := range all {
		for _, other := range all[i+1:] {
			if r.Start < other.End() && other.Start < r.End() {
				return bad("the regions at %d and %d overlap", r.Start, other.Start)
			}
		}
	}
	return nil
}
