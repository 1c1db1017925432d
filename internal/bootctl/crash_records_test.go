package bootctl_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
)

// recordSizes are records as large as they come: a manifest's envelope, a
// keyring, a history. In a quick look they are shorter.
var recordSizes = map[bootctl.RecordID]int{
	bootctl.RecordDevice:   200,
	bootctl.RecordKeyring:  64 << 10,
	bootctl.RecordEpoch:    20,
	bootctl.RecordSlotA:    256 << 10,
	bootctl.RecordSlotB:    256 << 10,
	bootctl.RecordResult:   1500,
	bootctl.RecordHistory:  100 << 10,
	bootctl.RecordJournal:  64<<10 - 64,
	bootctl.RecordBaseline: 20 << 10,
	bootctl.RecordParity:   30 << 10,
}

// recordOf returns version n of a record.
func recordOf(id bootctl.RecordID, variant, n byte) []byte {
	size := max(0, recordSizes[id]-int(variant)*700)
	if blockdevtest.Scale() == 1 {
		size = min(size, 12<<10)
	}
	b := make([]byte, size+int(n))
	rand.NewChaCha8([32]byte{byte(id), variant, n}).Read(b)
	return b
}

// TestCrashInRecords replaces each record twice: after any cut it is one of
// the versions, whole, and never one before the last that was acknowledged.
// Written once more after the cut, and cut there again, the same.
func TestCrashInRecords(t *testing.T) {
	for id := bootctl.RecordDevice; id <= bootctl.RecordParity; id++ {
		for variant := range 2 * blockdevtest.Variants() {
			physical := []int{512, 4096}[variant%2]
			t.Run(fmt.Sprintf("%v, variant %d, sectors of %d", id, variant/2, physical), func(t *testing.T) {
				t.Parallel()
				recordOf := func(id bootctl.RecordID, n byte) []byte { return recordOf(id, byte(variant/2), n) }
				base := newDisk(t, good, physical)
				must(t, open(t, base).SetRecord(id, recordOf(id, 1)))
				set := func(d *blockdevtest.Disk, versions ...byte) error {
					st, err := bootctl.Open(d, testLayout(t).State.Off)
					for _, n := range versions {
						if err == nil {
							err = st.SetRecord(id, recordOf(id, n))
							d.Acknowledge()
						}
					}
					return err
				}
				versions := [][]byte{recordOf(id, 1), recordOf(id, 2), recordOf(id, 3)}
				blockdevtest.Campaign{
					Base:    base.Clone(),
					Run:     func(d *blockdevtest.Disk) error { return set(d, 2, 3) },
					Recover: func(d *blockdevtest.Disk) error { return set(d, 3) }, Recoveries: 4,
					Check: func(c blockdevtest.Crash) error {
						got, err := open(t, c.Disk).Record(id)
						if err != nil {
							return err
						}
						oldest := c.Acknowledged
						if c.First != nil {
							oldest = max(c.First.Acknowledged, 2*c.Acknowledged)
						}
						for _, v := range versions[oldest:] {
							if bytes.Equal(got, v) {
								return nil
							}
						}
						return errors.New("another record than was written and acknowledged")
					},
				}.Test(t)
			})
		}
	}
}
