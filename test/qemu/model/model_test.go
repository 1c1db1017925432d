//go:build qemu

// Package model compares package bootmodel with real GRUB: the same boot
// states, whole and damaged, go through grub.cfg in QEMU and through the Go
// twin, and both must boot the same and leave the same bytes.
//
// One GRUB session goes through all cases: the commands of grub.cfg that would
// end the session are replaced by words on the serial line.
package model

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// cases is how many cases a session goes through; GRUB takes a quarter of a
// second for each under emulation.
const cases = 300

// testCase is one disk as GRUB may find it.
type testCase struct {
	env   [2][]byte
	files map[bootctl.System]bootmodel.Files
	valid map[bootctl.System]bool // args blocks
}

func randomState(r *rand.Rand) bootctl.State {
	flags := func() bootctl.Flags { return bootctl.Flags{OK: r.IntN(3) == 0, Tries: max(0, r.IntN(14)-4)} }
	return bootctl.State{
		Seq: 1 + r.Uint32N(1<<31), Primary: slot.All[r.IntN(2)], A: flags(), B: flags(),
		BKind: []bootctl.Kind{bootctl.KindSlot, bootctl.KindSlot, bootctl.KindOld}[r.IntN(3)], Migrate: r.IntN(4) == 0,
	}
}

// damage is what may have become of a copy of the boot state. Some of it only
// GRUB accepts: the model must follow GRUB there, and not bootctl's parser.
func damage(r *rand.Rand, b []byte) []byte {
	replace := func(from, to string) []byte {
		text, _, _ := bytes.Cut(bytes.Replace(b, []byte(from), []byte(to), 1), []byte("##"))
		return append(text, bytes.Repeat([]byte{'#'}, max(0, bootctl.EnvSize-len(text)))...)
	}
	switch r.IntN(16) {
	case 0:
		return make([]byte, bootctl.EnvSize)
	case 1:
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 2:
		return replace("ab_end=1\n", "")
	case 3:
		return replace("ab_fmt=1", "ab_fmt=2")
	case 4:
		return replace("ab_pri=", "ab_pri=c")
	case 5:
		return replace("ab_a_try=", "ab_a_try=1")
	case 6:
		return replace("ab_mig=", "ab_mig=2")
	case 7:
		return replace("ab_mig=", "ab_mig=0\nab_mig=")
	case 8:
		return replace("ab_b_kind=slot", "ab_b_kind=disk")
	case 9:
		return replace("ab_end=1\n", "root=hd9\nab_end=1\n")
	case 10:
		return replace("ab_seq=", "ab_fmt=1\nab_seq=")
	case 11:
		clear(b[200:])
		return b
	case 12:
		return randomState(r).Encode() // stale
	}
	return b
}

func randomCase(r *rand.Rand) testCase {
	c := testCase{files: make(map[bootctl.System]bootmodel.Files), valid: make(map[bootctl.System]bool)}
	s := randomState(r)
	for i := range c.env {
		c.env[i] = s.Encode()
		if r.IntN(3) == 0 {
			c.env[i] = damage(r, c.env[i])
		}
	}
	for _, sys := range bootctl.Systems {
		c.files[sys] = []bootmodel.Files{bootmodel.Loadable, bootmodel.Loadable, bootmodel.Loadable, bootmodel.Missing, bootmodel.BadKernel, bootmodel.BadInitramfs}[r.IntN(6)]
		c.valid[sys] = r.IntN(5) > 0
	}
	return c
}

// run puts a case through the model. It returns the line that GRUB should
// write and the boot state that it should leave.
func (c testCase) run(t *testing.T) (string, [2][]byte) {
	t.Helper()
	d := blockdevtest.New(1<<20, blockdev.SectorSize)
	var l bootctl.Layout
	write := func(b []byte, off int64) bootctl.Extent {
		if _, err := d.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		return bootctl.Extent{Off: off, Len: int64(len(b))}
	}
	for i, b := range c.env {
		l.Env[i] = write(b, int64(i)*4096)
	}
	for i, sys := range bootctl.Systems {
		l.Args[i] = write(argsBlock(c.valid[sys]), int64(i+2)*4096)
	}
	o := bootmodel.Machine{Dev: d, Layout: l, Files: func(s bootctl.System) bootmodel.Files { return c.files[s] }}.Boot()
	var left [2][]byte
	for i := range left {
		left[i] = make([]byte, bootctl.EnvSize)
		if _, err := d.ReadAt(left[i], l.Env[i].Off); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case o.Marked != 0:
		return fmt.Sprintf("%v marked", o.Marked), left
	case o.System == 0:
		return "nothing", left
	}
	return fmt.Sprintf("%v %v %s", o.System, o.Why, o.Seq), left
}

func argsBlock(valid bool) []byte {
	text := "# GRUB Environment Block\n"
	if valid {
		text += "ab_fmt=1\nab_args=x=1\nab_image_args=\nab_end=1\n"
	}
	return append([]byte(text), bytes.Repeat([]byte{'#'}, bootctl.ArgsSize-len(text))...)
}

var lineOfCase = regexp.MustCompile(`(?m)^T (\d+) (.*?)\r?$`)

func TestModelIsGRUB(t *testing.T) {
	r := rand.New(rand.NewPCG(2026, 1))
	list := make([]testCase, cases)
	for i := range list {
		list[i] = randomCase(r)
	}
	disk, places := buildDisk(t, list)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	m, err := vm.Start(ctx, vm.Config{Firmware: vm.BIOS, Disks: []vm.Disk{{Path: disk}}, MemoryMiB: 256, LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Console.Never("grub>|rescue>")
	if _, err := m.Console.Expect(ctx, "T DONE"); err != nil {
		t.Fatal(err)
	}
	said := make(map[int]string)
	for _, line := range lineOfCase.FindAllStringSubmatch(m.Console.Text(), -1) {
		n, err := strconv.Atoi(line[1])
		if err != nil {
			t.Fatal(err)
		}
		said[n] = strings.TrimSpace(said[n] + " " + line[2])
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	outcomes := make(map[string]int)
	for n, c := range list {
		want, left := c.run(t)
		if said[n] != want {
			t.Errorf("case %d: GRUB says %q, the model %q; env0 %q, env1 %q, files %v, args %v", n, said[n], want, c.env[0], c.env[1], c.files, c.valid)
		}
		for i := range left {
			got := make([]byte, bootctl.EnvSize)
			if _, err := f.ReadAt(got, places[n][i]); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, left[i]) {
				t.Errorf("case %d (%s): GRUB leaves env%d\n%q, the model\n%q", n, want, i, got, left[i])
			}
		}
		word := strings.Fields(want)
		outcomes[word[min(1, len(word)-1)]]++
	}
	t.Logf("%d cases: %v", len(list), outcomes)
}
