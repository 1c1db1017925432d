package partition

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

const mib = 1 << 20

// tool returns the path of a program of an independent judge.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	t.Fatalf("%s is missing: apt-get install %s", name, debianPackage)
	return ""
}

func judge(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// image returns a sparse disk image.
func image(t testing.TB, size int64) *blockdev.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// mbrTable and gptTable are the tables of the two kinds of appliance.
func mbrTable() *Table {
	return &Table{Scheme: MBR, DiskID: "0badf00d", Parts: []Part{
		{Number: 1, Start: 1 * mib, Size: 4 * mib, Type: TypeMBRLinux, PartUUID: "0badf00d-01", Active: true},
		{Number: 2, Start: 5 * mib, Size: 8 * mib, Type: TypeMBRLinux, PartUUID: "0badf00d-02"},
		{Number: 4, Start: 13 * mib, Size: 2*mib + 512, Type: "8e", PartUUID: "0badf00d-04"},
	}}
}

func gptTable() *Table {
	return &Table{
		Scheme: GPT, DiskID: "5c1b0a4e-21c4-4f5b-9d0e-0123456789ab", Primary: CopyGood, Backup: CopyGood,
		Parts: []Part{
			{Number: 1, Start: 1 * mib, Size: 4 * mib, Type: TypeESP, PartUUID: "11111111-2222-4333-8444-555555555501", Name: "EFI"},
			{Number: 2, Start: 5 * mib, Size: 1 * mib, Type: TypeBIOSBoot, PartUUID: "11111111-2222-4333-8444-555555555502", Attributes: 4},
			{Number: 5, Start: 6 * mib, Size: 8*mib - 512, Type: TypeLinux, PartUUID: "11111111-2222-4333-8444-555555555505", Name: "slot-ä 😀"},
		},
	}
}

// sfdiskTable is what sfdisk says of a disk.
func sfdiskTable(t *testing.T, path string) *Table {
	t.Helper()
	var out struct {
		Table struct {
			Label, ID  string
			Partitions []struct {
				Node             string
				Start, Size      int64
				Type, UUID, Name string
				Bootable         bool
			}
		} `json:"partitiontable"`
	}
	dump := judge(t, "", tool(t, "sfdisk", "fdisk"), "-J", path)
	if err := json.Unmarshal([]byte(dump), &out); err != nil {
		t.Fatalf("%v in %s", err, dump)
	}
	got := &Table{Scheme: MBR, DiskID: strings.TrimPrefix(strings.ToLower(out.Table.ID), "0x")}
	if out.Table.Label == "gpt" {
		got.Scheme, got.Primary, got.Backup = GPT, CopyGood, CopyGood
	}
	for _, p := range out.Table.Partitions {
		var number int
		if _, err := fmt.Sscanf(strings.TrimPrefix(p.Node, path), "%d", &number); err != nil {
			t.Fatalf("node %q: %v", p.Node, err)
		}
		part := Part{
			Number: number, Start: p.Start * sector, Size: p.Size * sector, Type: strings.ToLower(p.Type),
			PartUUID: strings.ToLower(p.UUID), Name: p.Name, Active: p.Bootable,
		}
		if got.Scheme == MBR {
			part.Type = fmt.Sprintf("%02s", part.Type)
			part.PartUUID = fmt.Sprintf("%s-%02x", got.DiskID, number) // sfdisk has no word for it
		}
		got.Parts = append(got.Parts, part)
	}
	return got
}

func TestWriteIsWhatSfdiskAndSgdiskRead(t *testing.T) {
	for _, want := range []*Table{mbrTable(), gptTable()} {
		t.Run(want.Scheme.String(), func(t *testing.T) {
			dev := image(t, 16*mib)
			bootCode := []byte(strings.Repeat("boot code ", 44))
			if _, err := dev.WriteAt(bootCode, 0); err != nil {
				t.Fatal(err)
			}
			for range 3 { // onto an empty disk, then over itself
				if err := Write(dev, want); err != nil {
					t.Fatal(err)
				}
				got, err := Read(dev)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("Read = %+v, %v, want %+v", got, err, want)
				}
				judge(t, "", tool(t, "sfdisk", "fdisk"), "--verify", dev.Path())
				if want.Scheme == GPT {
					out := judge(t, "", tool(t, "sgdisk", "gdisk"), "-v", dev.Path())
					if !strings.Contains(out, "No problems found") {
						t.Errorf("sgdisk -v: %s", out)
					}
					for i := range want.Parts {
						got.Parts[i].Attributes = 0 // sfdisk writes them in words
					}
				}
				if sf := sfdiskTable(t, dev.Path()); !reflect.DeepEqual(sf, got) {
					t.Errorf("sfdisk reads %+v, want %+v", sf, got)
				}
			}
			kept := make([]byte, len(bootCode))
			if _, err := dev.ReadAt(kept, 0); err != nil || string(kept) != string(bootCode) {
				t.Errorf("boot code is %q (%v)", kept, err)
			}
		})
	}
}

// TestPartUUIDs: the kernel looks root=PARTUUID= up by names that libblkid
// makes in the same way.
func TestPartUUIDs(t *testing.T) {
	for _, table := range []*Table{mbrTable(), gptTable()} {
		dev := image(t, 16*mib)
		if err := Write(dev, table); err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, p := range table.Parts {
			want += fmt.Sprintf("%d %d %d %s\n", p.Number, p.Start/sector, p.Size/sector, p.PartUUID)
		}
		out := judge(t, "", tool(t, "partx", "util-linux"), "-g", "-o", "NR,START,SECTORS,UUID", dev.Path())
		got := ""
		for line := range strings.Lines(out) {
			got += strings.Join(strings.Fields(line), " ") + "\n"
		}
		if got != want {
			t.Errorf("partx shows\n%swant\n%s", got, want)
		}
	}
}

func TestReadsWhatSfdiskAndSgdiskWrite(t *testing.T) {
	for name, format := range map[string]func(path string){
		"sfdisk MBR": func(path string) {
			judge(t, "label: dos\nlabel-id: 0xcafe0001\n2048,4096,83,*\n,4096,8e\n,,82\n", tool(t, "sfdisk", "fdisk"), path)
		},
		"sfdisk MBR, extended": func(path string) {
			judge(t, "label: dos\n2048,4096,83\n,16384,5\n", tool(t, "sfdisk", "fdisk"), path)
		},
		"sfdisk GPT": func(path string) {
			judge(t, "label: gpt\nstart=2048,size=4096,type=U,name=esp\nsize=4096,type=L,name=root\ntype=S\n", tool(t, "sfdisk", "fdisk"), path)
		},
		"sgdisk GPT": func(path string) {
			judge(t, "", tool(t, "sgdisk", "gdisk"), "-a1", "-n1:34:2047", "-t1:ef02", "-n7:2048:+4M", "-c7:seven", "-n3:0:0", path)
		},
		"sgdisk GPT, entries moved": func(path string) {
			judge(t, "", tool(t, "sgdisk", "gdisk"), "-j", "512", "-n1:2048:+4M", "-n2:0:0", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev := image(t, 16*mib)
			format(dev.Path())
			got, err := Read(dev)
			if err != nil {
				t.Fatal(err)
			}
			if want := sfdiskTable(t, dev.Path()); !reflect.DeepEqual(got, want) || len(got.Parts) < 2 {
				t.Errorf("Read = %+v\nsfdisk: %+v", got, want)
			}
		})
	}
}

func TestPart(t *testing.T) {
	if p, ok := gptTable().Part(5); !ok || p.Size != 8*mib-512 {
		t.Errorf("Part(5) = %+v, %v", p, ok)
	}
	if p, ok := gptTable().Part(3); ok {
		t.Errorf("Part(3) = %+v", p)
	}
}

// formatted returns a disk with a table on it.
func formatted(t testing.TB, table *Table) *blockdevtest.Disk {
	t.Helper()
	d := blockdevtest.New(16*mib, sector)
	if err := Write(d, table); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWriteRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		on, write *Table
		change    func(*Table)
	}{
		"GPT onto MBR":     {mbrTable(), gptTable(), func(*Table) {}},
		"MBR onto GPT":     {gptTable(), mbrTable(), func(*Table) {}},
		"disk signature":   {nil, mbrTable(), func(t *Table) { t.DiskID = "0xcafe" }},
		"disk GUID":        {nil, gptTable(), func(t *Table) { t.DiskID = "0badf00d" }},
		"no disk GUID":     {nil, gptTable(), func(t *Table) { t.DiskID = "00000000-0000-0000-0000-000000000000" }},
		"MBR number":       {nil, mbrTable(), func(t *Table) { t.Parts[0].Number = 5 }},
		"GPT number":       {nil, gptTable(), func(t *Table) { t.Parts[0].Number = 129 }},
		"number 0":         {nil, gptTable(), func(t *Table) { t.Parts[0].Number = 0 }},
		"number twice":     {nil, gptTable(), func(t *Table) { t.Parts[0].Number = 2 }},
		"PARTUUID twice":   {nil, gptTable(), func(t *Table) { t.Parts[0].PartUUID = t.Parts[1].PartUUID }},
		"no PARTUUID":      {nil, gptTable(), func(t *Table) { t.Parts[0].PartUUID = "" }},
		"overlap":          {nil, mbrTable(), func(t *Table) { t.Parts[0].Size += 512 }},
		"past the end":     {nil, mbrTable(), func(t *Table) { t.Parts[2].Size = 4 * mib }},
		"over the backup":  {nil, gptTable(), func(t *Table) { t.Parts[2].Size = 10*mib - 32*512 }},
		"over the entries": {nil, gptTable(), func(t *Table) { t.Parts[0].Start = 33 * 512 }},
		"over the MBR":     {nil, mbrTable(), func(t *Table) { t.Parts[0].Start = 0 }},
		"not a sector":     {nil, mbrTable(), func(t *Table) { t.Parts[0].Start++ }},
		"empty partition":  {nil, mbrTable(), func(t *Table) { t.Parts[0].Size = 0 }},
		"negative":         {nil, gptTable(), func(t *Table) { t.Parts[0].Start = -mib }},
		"long name":        {nil, gptTable(), func(t *Table) { t.Parts[0].Name = strings.Repeat("n", 37) }},
		"MBR type":         {nil, mbrTable(), func(t *Table) { t.Parts[0].Type = "ee" }},
		"GPT type":         {nil, gptTable(), func(t *Table) { t.Parts[0].Type = "83" }},
	} {
		t.Run(name, func(t *testing.T) {
			d := blockdevtest.New(16*mib, sector)
			if tc.on != nil {
				d = formatted(t, tc.on)
			}
			before := d.Ops()
			tc.change(tc.write)
			if err := Write(d, tc.write); !errors.Is(err, ErrTable) {
				t.Errorf("Write: %v", err)
			}
			if d.Ops() != before {
				t.Error("wrote before it refused")
			}
		})
	}
}
