package update

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestStalePartition: a kernel that goes by the table before this one has
// another partition under slot b's number. That is never written to.
func TestStalePartition(t *testing.T) {
	v := newVendor(t)
	dev, err := OnDisk(v.newDisk(t, content("1.0.0", slotSize)), slot.A, bootctl.WhyGood)
	must(t, err)
	file := func(size int64) string {
		path := filepath.Join(t.TempDir(), "partition")
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Truncate(path, size))
		return path
	}
	dev.Live = true
	for name, c := range map[string]struct {
		nodes map[int]partitionNode
		want  string // in the error; empty: none
	}{
		"the same":      {map[int]partitionNode{3: {file(slotSize), slotBAt}}, ""},
		"elsewhere":     {map[int]partitionNode{3: {file(slotSize), slotBAt - mib}}, "begins at byte"},
		"another size":  {map[int]partitionNode{3: {file(slotSize - mib), slotBAt}}, "bytes by the partition table and"},
		"not there yet": {nil, "does not know slot b"},
	} {
		dev.nodes = c.nodes
		_, done, err := dev.openSlot(slot.B)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			must(t, done())
			continue
		}
		var h hinted
		if !errors.Is(err, partition.ErrTable) || !strings.Contains(err.Error(), c.want) || !errors.As(err, &h) || !strings.Contains(h.hint, "abupdate reboot") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
