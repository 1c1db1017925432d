package provision

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

const mib = 1 << 20

// Sizes of what is not the user's choice.
const (
	gapSize      = 1 * mib // before the first partition: table, core.img on MBR
	espSize      = 64 * mib
	biosBootSize = 1 * mib
	abbootSize   = 256 * mib
	minDataSize  = 1 * mib
	backupSize   = 1 * mib // behind the last partition of a GPT: its backup
)

// plan is the new disk before anything is written.
type plan struct {
	table  *partition.Table
	scheme string // GRUB's word

	esp, biosBoot, boot, a, b, data partition.Part // esp and biosBoot on GPT only

	id         string   // of the boot state
	fsUUID     [16]byte // of abboot
	volumeID   uint32   // of the ESP
	diskLength int64
}

// newPlan places the partitions. All identifiers come from random.
func newPlan(firmware Firmware, size, slotSize int64, random io.Reader) (*plan, error) {
	if size%mib != 0 || slotSize%mib != 0 || slotSize <= 0 {
		return nil, fmt.Errorf("%w: a disk of %d and slots of %d bytes: both must be whole MiB", update.ErrUsage, size, slotSize)
	}
	ids := &identifiers{random: random}
	p := &plan{diskLength: size, id: hex.EncodeToString(ids.bytes(4)), fsUUID: ids.uuid(), volumeID: le.Uint32(ids.bytes(4))}
	var err error
	switch firmware {
	case BIOS:
		err = p.placeMBR(slotSize, ids)
	case UEFI:
		err = p.placeGPT(slotSize, ids)
	default:
		err = fmt.Errorf("internal error: a disk for %v", firmware)
	}
	if err == nil && ids.err != nil {
		err = fmt.Errorf("drawing identifiers: %w", ids.err)
	}
	return p, err
}

func (p *plan) placeMBR(slotSize int64, ids *identifiers) error {
	signature := ids.bytes(4)
	signature[0] |= 1 // never 0, which stands for none
	p.table = &partition.Table{Scheme: partition.MBR, DiskID: hex.EncodeToString(signature)}
	p.scheme = bootctl.SchemeMSDOS
	l := layouter{plan: p, next: gapSize, end: p.diskLength}
	l.add(&p.boot, 1, abbootSize, "", partition.TypeMBRLinux)
	l.add(&p.a, 2, slotSize, "", partition.TypeMBRLinux)
	l.add(&p.b, 3, slotSize, "", partition.TypeMBRLinux)
	if err := l.rest(&p.data, 4, "", partition.TypeMBRLinux); err != nil {
		return err
	}
	// Some BIOSes boot from no disk without an active partition.
	p.boot.Active = true
	for i := range p.table.Parts {
		part := &p.table.Parts[i]
		part.Active = part.Number == p.boot.Number
		part.PartUUID = fmt.Sprintf("%s-%02x", p.table.DiskID, part.Number)
	}
	p.a.PartUUID, p.b.PartUUID, p.data.PartUUID = p.table.Parts[1].PartUUID, p.table.Parts[2].PartUUID, p.table.Parts[3].PartUUID
	return nil
}

func (p *plan) placeGPT(slotSize int64, ids *identifiers) error {
	p.table = &partition.Table{Scheme: partition.GPT, DiskID: ids.guid()}
	p.scheme = bootctl.SchemeGPT
	l := layouter{plan: p, next: gapSize, end: p.diskLength - backupSize, guid: ids.guid}
	l.add(&p.esp, 1, espSize, "esp", partition.TypeESP)
	l.add(&p.biosBoot, 2, biosBootSize, "bios-boot", partition.TypeBIOSBoot)
	l.add(&p.boot, 3, abbootSize, "abboot", partition.TypeLinux)
	l.add(&p.a, 4, slotSize, "slot-a", partition.TypeLinux)
	l.add(&p.b, 5, slotSize, "slot-b", partition.TypeLinux)
	return l.rest(&p.data, 6, "data", partition.TypeLinux)
}

// layouter puts partitions one after another.
type layouter struct {
	plan      *plan
	next, end int64
	guid      func() string // nil: PARTUUIDs follow from the disk
}

func (l *layouter) add(to *partition.Part, number int, size int64, name, kind string) {
	*to = partition.Part{Number: number, Start: l.next, Size: size, Name: name, Type: kind}
	if l.guid != nil {
		to.PartUUID = l.guid()
	}
	l.plan.table.Parts = append(l.plan.table.Parts, *to)
	l.next += size
}

// rest gives what is left to the data partition.
func (l *layouter) rest(to *partition.Part, number int, name, kind string) error {
	left := l.end - l.next
	if left < minDataSize {
		need := l.plan.diskLength - left + minDataSize
		return hinted{
			fmt.Errorf("%w: the partitions need a disk of %d MiB, and it has %d", update.ErrNoFit, need/mib, l.plan.diskLength/mib),
			"choose a larger --size or a smaller --slot-size",
		}
	}
	l.add(to, number, left, name, kind)
	return nil
}

// identifiers draws random numbers; the first failure sticks.
type identifiers struct {
	random io.Reader
	err    error
}

func (ids *identifiers) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(ids.random, b); err != nil && ids.err == nil {
		ids.err = err
	}
	return b
}

// uuid is a random UUID (RFC 9562, version 4).
func (ids *identifiers) uuid() [16]byte {
	u := [16]byte(ids.bytes(16))
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return u
}

func (ids *identifiers) guid() string {
	u := ids.uuid()
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
