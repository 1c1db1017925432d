package migrate

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/partition"
)

func testJournal() *Journal {
	return &Journal{
		Format: 1, Phase: PhaseStarted, Layout: L1, Tier: Carve, Firmware: "bios", DiskID: "000c0001", DiskSize: 20 << 30, SlotSize: gib,
		Boot: Region{gib, 256 * mib}, A: Region{2 * gib, gib}, B: Region{4 * gib, gib}, Data: Region{8 * gib, 4 * gib},
		BootNumber: 3, ANumber: 4, BNumber: 1, DataNumber: 2, DataMode: DataInPlace, DataVolume: "centos/home",
		Undo: []SavedSectors{{Off: 0, Bytes: []byte{1, 2, 3}}},
		Old:  []OldVolume{{Name: "centos/root", Mount: "/", Filesystem: "xfs", Map: partition.DeviceMap{{Disk: gib, Len: gib}}}},
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	j := testJournal()
	b, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseJournal(b)
	if err != nil || !reflect.DeepEqual(got, j) {
		t.Fatalf("ParseJournal(Encode(%+v)) = %+v, %v", j, got, err)
	}
}

func TestJournalKeepsTheEndOfItsLog(t *testing.T) {
	t.Parallel()
	j := testJournal()
	j.Log = strings.Repeat("x", 2*maxLog) + "the end"
	j.Reason = strings.Repeat("y", 2*maxReason)
	b, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseJournal(b)
	if err != nil || !strings.HasSuffix(got.Log, "the end") || len(got.Log) != maxLog || len(got.Reason) != maxReason {
		t.Fatalf("log of %d, reason of %d bytes, %v", len(got.Log), len(got.Reason), err)
	}
}

func TestJournalRefuses(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*Journal){
		"an unknown phase":         func(j *Journal) { j.Phase = "lost" },
		"an unknown tier":          func(j *Journal) { j.Tier = "" },
		"abboot over sector 0":     func(j *Journal) { j.Boot.Start = 0 },
		"slot a outside":           func(j *Journal) { j.A.Start = j.DiskSize },
		"a size that wraps around": func(j *Journal) { j.A.Size = 1<<63 - 1 },
		"half a sector":            func(j *Journal) { j.A.Start++ },
		"slot a over abboot":       func(j *Journal) { j.A.Start = j.Boot.Start },
		"data over slot b":         func(j *Journal) { j.Data.Start = j.B.End() - sector },
	} {
		j := testJournal()
		damage(j)
		b, err := j.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseJournal(b); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: error %v, want ErrJournal", name, err)
		}
	}
}

func FuzzParseJournal(f *testing.F) {
	b, err := testJournal().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"phase":"preparing","tier":"carve"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := ParseJournal(b)
		if err != nil {
			return
		}
		if _, err := j.Encode(); err != nil && len(b) < maxJournal/2 {
			t.Fatalf("accepted and cannot be encoded: %v", err)
		}
	})
}
