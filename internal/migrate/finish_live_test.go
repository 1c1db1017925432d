package migrate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/partition"
)

// fakeKernel is a disk sda in a /sys and a /proc made of files, whose answer to
// BLKPG changes /sys.
type fakeKernel struct {
	*LiveDisk
	t    *testing.T
	busy map[int]int // how often somebody has the partition open when he is asked
	said []string
}

func newFakeKernel(t *testing.T, parts ...partition.Part) *fakeKernel {
	t.Helper()
	root := t.TempDir()
	k := &fakeKernel{t: t, busy: map[int]int{}}
	k.LiveDisk = &LiveDisk{node: "/dev/sda", proc: filepath.Join(root, "proc"), sys: filepath.Join(root, "sys"), blkpg: k.answer, wait: func() {}}
	k.write("sys/class/block/sda/dev", "8:0")
	for _, p := range parts {
		k.add(p)
	}
	k.write("proc/self/mountinfo", "")
	k.write("proc/swaps", "Filename Type Size Used Priority\n")
	return k
}

func (k *fakeKernel) path(name string) string { return filepath.Join(filepath.Dir(k.sys), name) }

func (k *fakeKernel) write(name, content string) {
	k.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(k.path(name)), 0o755), os.WriteFile(k.path(name), []byte(content+"\n"), 0o600)); err != nil {
		k.t.Fatal(err)
	}
}

// add makes a partition known: below the disk, and, where the kernel has a
// link, a directory of its own.
func (k *fakeKernel) add(p partition.Part) {
	name := fmt.Sprintf("sda%d", p.Number)
	for file, value := range map[string]int64{"partition": int64(p.Number), "start": p.Start / 512, "size": p.Size / 512} {
		k.write(filepath.Join("sys/class/block/sda", name, file), fmt.Sprint(value))
	}
	k.write(filepath.Join("sys/class/block", name, "dev"), fmt.Sprintf("8:%d", p.Number))
}

func (k *fakeKernel) answer(op int32, number int, start, size int64) error {
	word := map[int32]string{unix.BLKPG_ADD_PARTITION: "add", unix.BLKPG_DEL_PARTITION: "remove", blkpgResize: "resize"}[op]
	k.said = append(k.said, fmt.Sprintf("%s %d", word, number))
	name := k.path(fmt.Sprintf("sys/class/block/sda/sda%d", number))
	switch {
	case op == unix.BLKPG_DEL_PARTITION && k.busy[number] > 0:
		k.busy[number]--
		return unix.EBUSY
	case op == unix.BLKPG_DEL_PARTITION:
		return os.RemoveAll(name)
	}
	parts, err := k.parts()
	if err != nil {
		return err
	}
	for _, p := range parts { // as partition_overlaps, block/partitions/core.c
		if p.number != number && start < p.start+p.size && p.start < start+size {
			return unix.EBUSY
		}
	}
	k.add(partition.Part{Number: number, Start: start, Size: size})
	return nil
}

func finishParts() (trial, end []partition.Part) {
	boot, a := partition.Part{Number: 3, Start: 20 * mib, Size: 4 * mib}, partition.Part{Number: 4, Start: 24 * mib, Size: 8 * mib}
	trial = []partition.Part{{Number: 1, Start: mib, Size: 8 * mib}, {Number: 2, Start: 9 * mib, Size: 50 * mib}, boot, a}
	end = []partition.Part{{Number: 1, Start: 2 * mib, Size: 8 * mib}, {Number: 2, Start: 40 * mib, Size: 20 * mib}, boot, a}
	return trial, end
}

func TestRepartition(t *testing.T) {
	t.Parallel()
	trial, end := finishParts()
	grown := slices.Clone(end)
	grown[1].Size += mib
	over := slices.Clone(end) // slot b begins where /boot did, and reaches into the old root
	over[0].Start, over[0].Size = trial[0].Start, 15*mib
	const always = repartitionTries
	rows := map[string]struct {
		from, end []partition.Part
		busy      int // partition
		times     int
		seen      bool
		said      []string
	}{
		"the new table":                {trial, end, 0, 0, true, []string{"remove 1", "remove 2", "add 1", "add 2"}},
		"an active volume group":       {trial, end, 2, always, false, append([]string{"remove 1"}, slices.Repeat([]string{"remove 2", "add 1"}, always)...)},
		"udev looks at it":             {trial, end, 2, 1, true, []string{"remove 1", "remove 2", "add 1", "remove 2", "add 1", "add 2"}},
		"data that grow in place":      {end, grown, 2, 0, true, []string{"resize 2"}},
		"slot b grows where root was":  {trial, over, 0, 0, true, []string{"remove 2", "resize 1", "add 2"}},
		"the same, and root is opened": {trial, over, 2, 1, true, []string{"remove 2", "resize 1", "remove 2", "resize 1", "add 2"}},
		"what the kernel has":          {trial, trial, 0, 0, true, nil},
		"one partition goes":           {trial, trial[1:], 0, 0, true, []string{"remove 1"}},
		"one goes, and it is open":     {trial, append(slices.Clone(trial[:1]), trial[2:]...), 2, always, false, slices.Repeat([]string{"remove 2"}, always)},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newFakeKernel(t, r.from...)
			k.busy[r.busy] = r.times
			seen, err := k.Repartition(&partition.Table{Parts: r.end})
			if err != nil || seen != r.seen || !slices.Equal(k.said, r.said) {
				t.Errorf("%v, %v, said %q; want %v, said %q", seen, err, k.said, r.seen, r.said)
			}
		})
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	trial, _ := finishParts()
	keep := []Region{{20 * mib, 4 * mib}, {24 * mib, 8 * mib}}
	const line = "36 35 %s / %s rw,relatime shared:1 - xfs /dev/x rw\n"
	rows := map[string]struct {
		mounts []string // device, mount point
		want   []string
	}{
		"slot a only":         {[]string{"8:4", "/"}, nil},
		"old partition":       {[]string{"8:4", "/", "8:1", "/mnt/a\\040b"}, []string{"sda1 is mounted at /mnt/a b"}},
		"old logical volume":  {[]string{"253:0", "/mnt"}, []string{"dm-0 is mounted at /mnt"}},
		"on another disk":     {[]string{"8:17", "/mnt"}, nil},
		"behind another":      {[]string{"8:1", "/mnt", "8:17", "/mnt"}, []string{"sda1 is mounted at /mnt"}},
		"the disk as a whole": {[]string{"8:0", "/mnt"}, []string{"sda is mounted at /mnt"}},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newFakeKernel(t, trial...)
			k.write("sys/class/block/sda2/holders/dm-0/x", "")
			k.write("sys/class/block/dm-0/dev", "253:0")
			var text strings.Builder
			for m := range slices.Chunk(r.mounts, 2) {
				fmt.Fprintf(&text, line, m[0], m[1])
			}
			if err := os.WriteFile(k.path("proc/self/mountinfo"), []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := k.InUse(keep)
			if err != nil || !slices.Equal(got, r.want) {
				t.Errorf("%q, %v; want %q", got, err, r.want)
			}
		})
	}
}

func TestStubText(t *testing.T) {
	t.Parallel()
	text := string(stubText("0badcafe"))
	if len(text) != 512 {
		t.Errorf("%d bytes", len(text))
	}
	for _, want := range []string{"/abupdate/id-0badcafe\n", "\nconfigfile ($root)/grub/grub.cfg\n", "\nreboot\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	check := exec.Command("grub-script-check")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("grub-script-check (Debian package grub-common): %v\n%s", err, out)
	}
	if i := strings.LastIndex(text, "\n"); strings.Trim(text[i+1:], "#") != "" {
		t.Errorf("the last line is no comment: %q", text[i+1:])
	}
}
