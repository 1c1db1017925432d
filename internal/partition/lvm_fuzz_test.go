package partition

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestTextAroundTheEnd: a text may begin at the end of the ring and go on
// after the header.
func TestTextAroundTheEnd(t *testing.T) {
	d := fixture(t, "el7-0", 1<<30)
	before, err := ReadPV(d)
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, areaHeaderSize)
	if _, err := d.ReadAt(header, 4096); err != nil {
		t.Fatal(err)
	}
	loc := header[areaLocations:]
	text := make([]byte, le.Uint64(loc[8:]))
	if _, err := d.ReadAt(text, 4096+int64(le.Uint64(loc))); err != nil {
		t.Fatal(err)
	}
	end := int64(le.Uint64(header[32:]))
	poke(t, d, 4096+end-100, text[:100]...)
	poke(t, d, 4096+areaHeaderSize, text[100:]...)
	le.PutUint64(loc, uint64(end-100))
	le.PutUint32(header, lvmCRC(lvmCRCInitial, header[areaSumFrom:]))
	poke(t, d, 4096, header...)
	after, err := ReadPV(d)
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, %v", after, err)
	}
}

// formatText is the inverse of parseText.
func formatText(b *strings.Builder, s *lvmSection) {
	for _, name := range s.names {
		switch v := s.fields[name].(type) {
		case *lvmSection:
			fmt.Fprintf(b, "%s {\n", name)
			formatText(b, v)
			b.WriteString("}\n")
		case []any:
			var values []string
			for _, x := range v {
				values = append(values, formatValue(x))
			}
			fmt.Fprintf(b, "%s = [%s]\n", name, strings.Join(values, ", "))
		default:
			fmt.Fprintf(b, "%s = %s\n", name, formatValue(v))
		}
	}
}

func formatValue(v any) string {
	if s, ok := v.(string); ok {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return fmt.Sprint(v)
}

// FuzzLVMText: what was parsed means the same when it is written and parsed
// again.
func FuzzLVMText(f *testing.F) {
	f.Add([]byte(metadata))
	f.Fuzz(func(t *testing.T, text []byte) {
		if g, err := parseGroup(text); (g == nil) != errors.Is(err, ErrLVM) {
			t.Errorf("parseGroup = %+v, %v", g, err)
		}
		s, err := parseText(text)
		if err != nil {
			return
		}
		var b strings.Builder
		formatText(&b, s)
		again, err := parseText([]byte(b.String()))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%v from\n%s", err, b.String())
		}
	})
}

// FuzzLVM reads whole physical volumes, with the sums as they are and right.
func FuzzLVM(f *testing.F) {
	d := fixture(f, "el7-0", 4*mib)
	head := make([]byte, 16<<10)
	if _, err := d.ReadAt(head, 0); err != nil {
		f.Fatal(err)
	}
	// Only what counts: label, area header, text.
	f.Add(head[sector:sector+160], head[4096:4096+80], []byte(metadata))
	f.Fuzz(func(t *testing.T, label, header, text []byte) {
		d := blockdevtest.New(4*mib, sector)
		poke(t, d, sector, label[:min(len(label), sector)]...)
		poke(t, d, 4096+areaHeaderSize, text[:min(len(text), 64<<10)]...)
		poke(t, d, 4096, header[:min(len(header), areaHeaderSize)]...)
		checkPV(t, d)
		reseal(t, d)
		checkPV(t, d)
	})
}

func checkPV(t *testing.T, d *blockdevtest.Disk) {
	t.Helper()
	pv, err := ReadPV(d)
	if err != nil {
		if !errors.Is(err, ErrLVM) && !errors.Is(err, ErrNotPV) {
			t.Errorf("ReadPV: %v", err)
		}
		return
	}
	if pv.Group == nil {
		return
	}
	places := map[string]Place{}
	for _, m := range pv.Group.Members {
		places[m.UUID] = Place{0, d.Size()}
		pv.Group.Free(m, 0)
	}
	for _, v := range pv.Group.Volumes {
		m, err := pv.Group.Map(&v, places)
		if err != nil {
			continue
		}
		for _, r := range m {
			if r.Start < 0 || r.Len <= 0 || r.Disk < 0 || r.DiskEnd() > d.Size() {
				t.Errorf("%s: %+v", v.Name, r)
			}
		}
	}
}
