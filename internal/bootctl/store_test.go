package bootctl_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

func TestFormatThenOpen(t *testing.T) {
	d := blockdevtest.New(diskSize, blockdev.SectorSize)
	l := testLayout(t)
	fresh := good
	fresh.Seq = 0
	must(t, bootctl.Format(d, l, fresh))
	off, err := bootctl.Find(d)
	if err != nil || off != l.State.Off {
		t.Fatalf("Find = %d, %v; want %d", off, err, l.State.Off)
	}
	st := open(t, d)
	if st.Layout() != l {
		t.Errorf("Layout() = %+v, want %+v", st.Layout(), l)
	}
	fresh.Seq = 1
	if s, health, err := st.State(); err != nil || s != fresh || health != [2]bootctl.CopyHealth{"ok", "ok"} {
		t.Errorf("State() = %+v, %v, %v", s, health, err)
	}
	for _, s := range bootctl.Systems {
		if a, err := st.Args(s); !errors.Is(err, bootctl.ErrInvalid) || !errors.Is(err, bootctl.ErrBootState) {
			t.Errorf("Args(%v) = %+v, %v; want ErrInvalid", s, a, err)
		}
	}
	for id := bootctl.RecordDevice; id <= bootctl.RecordParity; id++ {
		if b, err := st.Record(id); err != nil || len(b) != 0 {
			t.Errorf("Record(%v) = %d bytes, %v; want none", id, len(b), err)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, change := range map[string]func(*bootctl.Layout, *bootctl.State){
		"id":                                func(l *bootctl.Layout, _ *bootctl.State) { l.ID = "xyz" },
		"partition":                         func(l *bootctl.Layout, _ *bootctl.State) { l.APart = 0 },
		"partition twice":                   func(l *bootctl.Layout, _ *bootctl.State) { l.APart = l.BPart },
		"not aligned":                       func(l *bootctl.Layout, _ *bootctl.State) { l.Env[1].Off += 512 },
		"too short":                         func(l *bootctl.Layout, _ *bootctl.State) { l.State.Len /= 2 },
		"env copies in one physical sector": func(l *bootctl.Layout, _ *bootctl.State) { l.Env[1].Off = l.Env[0].Off },
		"overlap":                           func(l *bootctl.Layout, _ *bootctl.State) { l.Args[0].Off = l.State.Off + 4096 },
		"outside of the disk":               func(l *bootctl.Layout, _ *bootctl.State) { l.State.Off = diskSize - 4096 },
		"on the boot sector":                func(l *bootctl.Layout, _ *bootctl.State) { l.Env[0].Off = 0 },
		"overflow":                          func(l *bootctl.Layout, _ *bootctl.State) { l.State.Off = 1<<63 - 4096 },
		"state":                             func(_ *bootctl.Layout, s *bootctl.State) { s.Primary = 0 },
	} {
		d := blockdevtest.New(diskSize, blockdev.SectorSize)
		l, s := testLayout(t), good
		change(&l, &s)
		if err := bootctl.Format(d, l, s); !errors.Is(err, bootctl.ErrBootState) || d.Ops() != 0 {
			t.Errorf("%s: %v after %d writes", name, err, d.Ops())
		}
	}
}

func TestFindPassesCopiesInFilesOver(t *testing.T) {
	d := newDisk(t, good, 512)
	l := testLayout(t)
	// An image of such a disk, stored in front of the real state file.
	head := make([]byte, 8192)
	must(t, readAt(d, head, l.State.Off))
	if _, err := d.WriteAt(head, 4096); err != nil {
		t.Fatal(err)
	}
	if off, err := bootctl.Find(d); err != nil || off != l.State.Off {
		t.Errorf("Find = %d, %v; want %d", off, err, l.State.Off)
	}
	// One header is enough, whichever it is.
	for n := range int64(2) {
		one := d.Clone()
		if _, err := one.WriteAt(make([]byte, 4096), l.State.Off+n*4096); err != nil {
			t.Fatal(err)
		}
		if off, err := bootctl.Find(one); err != nil || off != l.State.Off {
			t.Errorf("without header copy %d: Find = %d, %v; want %d", n, off, err, l.State.Off)
		}
	}
}

func TestFindNothing(t *testing.T) {
	if _, err := bootctl.Find(blockdevtest.New(diskSize, 512)); !errors.Is(err, bootctl.ErrBootState) {
		t.Errorf("Find on an empty disk = %v", err)
	}
	if _, err := bootctl.Open(blockdevtest.New(diskSize, 512), 1<<40); !errors.Is(err, bootctl.ErrBootState) {
		t.Errorf("Open behind the end = %v", err)
	}
}

func TestSetStateRaisesSeq(t *testing.T) {
	st := open(t, newDisk(t, good, 512))
	want := bootctl.Arm(good, slot.B, 3)
	must(t, st.SetState(want))
	want.Seq = good.Seq + 1
	if s, _, err := st.State(); err != nil || s != want {
		t.Errorf("State() = %+v, %v; want %+v", s, err, want)
	}
	bad := want
	bad.B.Tries = 10
	if err := st.SetState(bad); err == nil {
		t.Error("SetState took 10 tries")
	}
}

func TestSeqGoesRound(t *testing.T) {
	last := good
	last.Seq = 1<<32 - 1
	st := open(t, newDisk(t, last, 512))
	must(t, st.SetState(last))
	if s, _, err := st.State(); err != nil || s.Seq != 1 {
		t.Errorf("after the last sequence number: %+v, %v", s, err)
	}
}

func TestRepair(t *testing.T) {
	l := testLayout(t)
	junk := bytes.Repeat([]byte("junk"), 128)
	stale := good
	stale.Seq--
	for name, c := range map[string]struct {
		env0, env1 []byte // nil: as it is
		before     [2]bootctl.CopyHealth
		want       bootctl.State
		said       string
	}{
		"all well":    {nil, nil, [2]bootctl.CopyHealth{"ok", "ok"}, good, ""},
		"env0 broken": {junk, nil, [2]bootctl.CopyHealth{"bad", "ok"}, good, "env0 was bad"},
		"env1 broken": {nil, junk, [2]bootctl.CopyHealth{"ok", "bad"}, good, "env1 was bad"},
		"env1 stale":  {nil, stale.Encode(), [2]bootctl.CopyHealth{"ok", "stale"}, good, "env1 was stale"},
		"both broken": {junk, make([]byte, 512), [2]bootctl.CopyHealth{"bad", "bad"}, bootctl.Rebuilt(bootctl.SystemB), "rebuilt"},
	} {
		d := newDisk(t, good, 512)
		st := open(t, d)
		for i, b := range [][]byte{c.env0, c.env1} {
			if _, err := d.WriteAt(b, l.Env[i].Off); err != nil {
				t.Fatal(err)
			}
		}
		if _, health, err := st.State(); health != c.before || (err != nil) != (health[0] == "bad" && health[1] == "bad") {
			t.Errorf("%s: State() = %v, %v", name, health, err)
		}
		ops := d.Ops()
		said, err := st.Repair(bootctl.SystemB)
		if err != nil || !strings.Contains(said, c.said) || (said == "") != (c.said == "") {
			t.Errorf("%s: Repair = %q, %v; want %q", name, said, err, c.said)
		}
		if c.said == "" && d.Ops() != ops {
			t.Errorf("%s: Repair wrote although nothing was wrong", name)
		}
		if s, health, err := st.State(); err != nil || s != c.want || health != [2]bootctl.CopyHealth{"ok", "ok"} {
			t.Errorf("%s: afterwards %+v, %v, %v; want %+v", name, s, health, err, c.want)
		}
	}
}

func TestRepairHeaders(t *testing.T) {
	l := testLayout(t)
	for n := range int64(2) {
		d := newDisk(t, good, 512)
		want := make([]byte, 8192)
		must(t, readAt(d, want, l.State.Off))
		if _, err := d.WriteAt([]byte("junk"), l.State.Off+n*4096+1000); err != nil {
			t.Fatal(err)
		}
		said, err := open(t, d).Repair(bootctl.SystemA)
		got := make([]byte, 8192)
		must(t, readAt(d, got, l.State.Off))
		if err != nil || said == "" || !bytes.Equal(got, want) {
			t.Errorf("header copy %d: Repair = %q, %v, or not the same as before", n, said, err)
		}
	}
}

func TestArgs(t *testing.T) {
	st := open(t, newDisk(t, good, 512))
	long := bootctl.Args{Device: strings.Repeat("d ", 500), Image: strings.Repeat("i ", 200)}
	for _, want := range []bootctl.Args{long, {}, argsOf(slot.B)} {
		must(t, st.SetArgs(bootctl.SystemB, want))
		if got, err := st.Args(bootctl.SystemB); err != nil || got != want {
			t.Errorf("Args = %+v, %v; want %+v", got, err, want)
		}
		must(t, st.InvalidateArgs(bootctl.SystemB))
		must(t, st.InvalidateArgs(bootctl.SystemB))
		if got, err := st.Args(bootctl.SystemB); !errors.Is(err, bootctl.ErrInvalid) {
			t.Errorf("invalidated Args = %+v, %v", got, err)
		}
	}
	if got, err := st.Args(bootctl.SystemA); err != nil || got != argsOf(slot.A) {
		t.Errorf("the other slot's Args = %+v, %v", got, err)
	}
	if err := st.SetArgs(bootctl.SystemB, bootctl.Args{Device: "a\nb"}); err == nil {
		t.Error("SetArgs took a newline")
	}
	if err := st.SetArgs(0, bootctl.Args{}); err == nil {
		t.Error("SetArgs took the zero system")
	}
}

func TestRecords(t *testing.T) {
	d := newDisk(t, good, 512)
	st := open(t, d)
	sizes := map[bootctl.RecordID]int{
		bootctl.RecordDevice: 64 << 10, bootctl.RecordKeyring: 256 << 10, bootctl.RecordEpoch: 64 << 10,
		bootctl.RecordSlotA: 1<<20 + 64<<10, bootctl.RecordSlotB: 1<<20 + 64<<10, bootctl.RecordResult: 64 << 10,
		bootctl.RecordHistory: 256 << 10, bootctl.RecordJournal: 64 << 10, bootctl.RecordBaseline: 64 << 10, bootctl.RecordParity: 64 << 10,
	}
	want := make(map[bootctl.RecordID][]byte)
	for round, share := range []int{1, 100, 1000, 3} { // the largest, then shorter ones over it
		for id, size := range sizes {
			want[id] = bytes.Repeat([]byte{byte(id), byte(round)}, size/2/share)
			must(t, st.SetRecord(id, want[id]))
		}
		for id := range sizes {
			if got, err := st.Record(id); err != nil || !bytes.Equal(got, want[id]) {
				t.Errorf("Record(%v), round %d: %d bytes, %v; want %d", id, round, len(got), err, len(want[id]))
			}
		}
	}
	for id, size := range sizes {
		if err := st.SetRecord(id, make([]byte, size+1)); !errors.Is(err, bootctl.ErrBootState) {
			t.Errorf("SetRecord(%v) of a byte too much = %v", id, err)
		}
	}
	if _, err := st.Record(99); !errors.Is(err, bootctl.ErrBootState) {
		t.Errorf("Record(99) = %v", err)
	}
	if err := st.SetRecord(99, nil); !errors.Is(err, bootctl.ErrBootState) {
		t.Errorf("SetRecord(99) = %v", err)
	}
	if s, _, err := st.State(); err != nil || s != good {
		t.Errorf("the boot state changed: %+v, %v", s, err)
	}
}

// TestBrokenRecord breaks both copies: that is an error, and not an empty
// record; and the next write makes it good again.
func TestBrokenRecord(t *testing.T) {
	d := newDisk(t, good, 512)
	st := open(t, d)
	must(t, st.SetRecord(bootctl.RecordKeyring, []byte("first")))
	must(t, st.SetRecord(bootctl.RecordKeyring, []byte("second")))
	junk := bytes.Repeat([]byte("junk"), 1024)
	l := testLayout(t)
	for off := l.State.Off + 8192; off < l.State.End(); off += 4096 {
		if _, err := d.WriteAt(junk, off); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := st.Record(bootctl.RecordKeyring); !errors.Is(err, bootctl.ErrBootState) {
		t.Fatalf("Record of broken copies = %q, %v", b, err)
	}
	must(t, st.SetRecord(bootctl.RecordKeyring, []byte("third")))
	if b, err := st.Record(bootctl.RecordKeyring); err != nil || string(b) != "third" {
		t.Errorf("Record = %q, %v", b, err)
	}
}

// liar is a disk that reports success for writes that it loses.
type liar struct{ blockdev.Device }

func (l liar) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestLostWritesAreNoticed(t *testing.T) {
	st := open(t, liar{newDisk(t, good, 512)})
	for name, write := range map[string]func() error{
		"state":      func() error { return st.SetState(bootctl.Arm(good, slot.B, 3)) },
		"args":       func() error { return st.SetArgs(bootctl.SystemB, bootctl.Args{Device: "new"}) },
		"invalidate": func() error { return st.InvalidateArgs(bootctl.SystemB) },
		"record":     func() error { return st.SetRecord(bootctl.RecordEpoch, []byte("7")) },
	} {
		if err := write(); !errors.Is(err, bootctl.ErrBootState) {
			t.Errorf("%s: %v, want ErrBootState", name, err)
		}
	}
}

func readAt(d io.ReaderAt, b []byte, off int64) error {
	_, err := d.ReadAt(b, off)
	return err
}
