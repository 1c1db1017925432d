package migrate

import (
	"errors"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/partition"
)

// TestUnchanged compares a machine with what prepare made its tables from: an
// MBR with /boot, swap and the root, whose trial needs swap's entry for
// something else.
func TestUnchanged(t *testing.T) {
	part := func(number int, start, size int64) partition.Part {
		return partition.Part{Number: number, Start: start << 20, Size: size << 20}
	}
	old := []partition.Part{part(1, 1, 200), part(2, 201, 64), part(3, 265, 2000)}
	trial := []partition.Part{part(1, 1, 200), part(2, 1000, 128), part(3, 265, 2000), part(4, 1200, 400)}
	machine := func(parts ...partition.Part) *Survey {
		s := &Survey{Disk: Disk{Size: 4 << 30, Table: &partition.Table{Scheme: partition.MBR, DiskID: "000c0002", Parts: parts}}}
		for _, p := range parts {
			v := Volume{Name: fmt.Sprintf("partition %d", p.Number), Part: p.Number, Size: p.Size, Map: partition.DeviceMap{{Disk: p.Start, Len: p.Size}}}
			switch p.Start >> 20 {
			case 1:
				v.Mount, v.Content = "/boot", Content{Kind: KindFilesystem, Format: "xfs"}
			case 201:
				v.Content = Content{Kind: KindSwap, Format: "swap"}
			case 1000: // abboot
				v.Content = Content{Kind: KindFilesystem, Format: "ext4"}
			case 265:
				v.Mount, v.Content = "/", Content{Kind: KindFilesystem, Format: "xfs"}
			}
			s.Volumes = append(s.Volumes, v)
		}
		return s
	}
	before := machine(old...)
	j := &Journal{DiskID: "000c0002", DiskSize: 4 << 30, Old: oldVolumes(before), Trial: &partition.Table{Scheme: partition.MBR, DiskID: "000c0002", Parts: trial}}

	for _, c := range []struct {
		name    string
		survey  *Survey
		changed bool
	}{
		{"as it was", before, false},
		{"in the trial, without swap", machine(trial...), false},
		{"another partition", machine(append(old[:3:3], part(4, 3000, 100))...), true},
		{"where the trial has one, and longer", machine(append(old[:3:3], part(4, 1200, 500))...), true},
		{"swap is smaller", machine(old[0], part(2, 201, 32), old[2]), true},
		{"the root is elsewhere", machine(old[0], old[1], part(3, 300, 2000)), true},
	} {
		if err := c.survey.checkUnchanged(j); (err != nil) != c.changed || err != nil && !errors.Is(err, errMoved) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
