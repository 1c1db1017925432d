package oldsystem

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/debian"
)

// sfdisk judges the tables, and says where the partitions begin and end.
func TestVolumesLieInTheirPartitions(t *testing.T) {
	for _, l := range Layouts(400, 0) {
		path := filepath.Join(t.TempDir(), "disk.img")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, l.size*mib); err != nil {
			t.Fatal(err)
		}
		if err := debian.Run(context.Background(), l.table, "sfdisk", "-q", path); err != nil {
			t.Fatalf("%s: %v", l.Name, err)
		}
		out, err := exec.Command("sfdisk", "-J", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var dump struct {
			PartitionTable struct {
				Partitions []struct{ Start, Size int64 }
			}
		}
		if err := json.Unmarshal(out, &dump); err != nil {
			t.Fatal(err)
		}
		parts := dump.PartitionTable.Partitions
		for _, v := range l.volumes {
			p := parts[v.part-1]
			start, size := p.Start*sector/mib, p.Size*sector/mib
			exact := v.lv != "" || v.at == start && v.size == size
			if !exact || v.at < start || v.at+v.size > start+size {
				t.Errorf("%s: %s is at [%d, +%d) MiB, partition %d at [%d, +%d)", l.Name, v.mount, v.at, v.size, v.part, start, size)
			}
		}
		if g := l.group; g != nil && (g.at != parts[len(parts)-1].Start*sector/mib || g.size != parts[len(parts)-1].Size*sector/mib) {
			t.Errorf("%s: the group is at [%d, +%d) MiB, its partition at %+v", l.Name, g.at, g.size, parts[len(parts)-1])
		}
	}
}

func TestFstabNamesWhatIsMounted(t *testing.T) {
	l, err := ByName("L4", 400, 0)
	if err != nil {
		t.Fatal(err)
	}
	const want = `LABEL=EFI /boot/efi vfat umask=0077,shortname=winnt 0 0
UUID=01d00000-0000-4000-8000-000100003451 /boot xfs defaults 0 0
/dev/mapper/centos-swap swap swap defaults 0 0
/dev/mapper/centos-home /home xfs defaults 0 0
/dev/mapper/centos-root / xfs defaults 0 0
`
	if got := string(l.fstab()); got != want {
		t.Errorf("fstab is\n%s\nwant\n%s", got, want)
	}
}
