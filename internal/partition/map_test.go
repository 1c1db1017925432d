package partition

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestThrough(t *testing.T) {
	volume := DeviceMap{{0, 1000, 100}, {100, 5000, 100}, {300, 2000, 50}}
	for name, tc := range map[string]struct{ file, want DeviceMap }{
		"inside":        {DeviceMap{{0, 10, 20}}, DeviceMap{{0, 1010, 20}}},
		"over a border": {DeviceMap{{0, 90, 20}}, DeviceMap{{0, 1090, 10}, {10, 5000, 10}}},
		"in two pieces": {DeviceMap{{0, 150, 10}, {10, 0, 10}}, DeviceMap{{0, 5050, 10}, {10, 1000, 10}}},
		"joined again":  {DeviceMap{{0, 10, 10}, {10, 20, 10}}, DeviceMap{{0, 1010, 20}}},
		"all":           {DeviceMap{{0, 0, 200}}, DeviceMap{{0, 1000, 100}, {100, 5000, 100}}},
		"into a hole":   {DeviceMap{{0, 190, 20}}, nil},
		"past the end":  {DeviceMap{{0, 340, 20}}, nil},
		"elsewhere":     {DeviceMap{{0, 400, 1}}, nil},
	} {
		got, err := tc.file.Through(volume)
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.want != nil) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tc.want)
		}
	}
}

func TestStretches(t *testing.T) {
	m := DeviceMap{{0, 500, 100}, {100, 300, 50}, {150, 400, 100}, {250, 350, 50}}
	want := []Stretch{{300, 300, []Run{{100, 300, 50}, {250, 350, 50}, {150, 400, 100}, {0, 500, 100}}}}
	if got := m.Stretches(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	m = append(m, Run{300, 1000, 301})
	if got := m.Stretches(); len(got) != 2 || got[0].Disk != 1000 || got[1].Len != 300 {
		t.Errorf("%v", got)
	}
}

func TestMapExtents(t *testing.T) {
	good := func() []FileExtent {
		return []FileExtent{{0, 4096, 8192, 0}, {8192, 12288, 4096, ExtentMerged}, {12288, 65536, 4096, ExtentLast}}
	}
	m, err := mapExtents(good(), 16000, UnwrittenRefused)
	if want := (DeviceMap{{0, 4096, 12288}, {12288, 65536, 4096}}); err != nil || !slices.Equal(m, want) {
		t.Errorf("%v, %v, want %v", m, err, want)
	}
	for name, tc := range map[string]struct {
		change    func(e []FileExtent) []FileExtent
		unwritten Unwritten
		says      string
	}{
		"unknown":           {flagged(ExtentUnknown), UnwrittenAllowed, "UNKNOWN"},
		"delalloc":          {flagged(ExtentDelalloc | ExtentUnknown), UnwrittenAllowed, "UNKNOWN|DELALLOC"},
		"encoded":           {flagged(ExtentEncoded), UnwrittenAllowed, "ENCODED"},
		"encrypted":         {flagged(ExtentEncrypted), UnwrittenAllowed, "DATA_ENCRYPTED"},
		"not aligned":       {flagged(ExtentNotAligned), UnwrittenAllowed, "NOT_ALIGNED"},
		"inline":            {flagged(ExtentInline), UnwrittenAllowed, "DATA_INLINE"},
		"tail":              {flagged(ExtentTail), UnwrittenAllowed, "DATA_TAIL"},
		"shared":            {flagged(ExtentShared), UnwrittenAllowed, "SHARED"},
		"of tomorrow":       {flagged(0x80000000), UnwrittenAllowed, "0x80000000"},
		"unwritten":         {flagged(ExtentUnwritten), UnwrittenRefused, "UNWRITTEN"},
		"allocated":         {flagged(ExtentUnwritten), UnwrittenAllowed, ""},
		"a hole":            {func(e []FileExtent) []FileExtent { return slices.Delete(e, 1, 2) }, UnwrittenAllowed, "a hole"},
		"a late start":      {func(e []FileExtent) []FileExtent { return e[1:] }, UnwrittenAllowed, "a hole"},
		"a hole at the end": {func(e []FileExtent) []FileExtent { return e[:2] }, UnwrittenAllowed, "hole"},
		"nothing":           {func([]FileExtent) []FileExtent { return nil }, UnwrittenAllowed, "hole"},
		"no address":        {func(e []FileExtent) []FileExtent { e[2].Physical = 0; return e }, UnwrittenAllowed, "no address"},
		"negative":          {func(e []FileExtent) []FileExtent { e[2].Physical = -4096; return e }, UnwrittenAllowed, "extent 2"},
		"empty":             {func(e []FileExtent) []FileExtent { e[1].Len = 0; return e }, UnwrittenAllowed, "extent 1"},
	} {
		_, err := mapExtents(tc.change(good()), 16000, tc.unwritten)
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
}

func flagged(f ExtentFlags) func([]FileExtent) []FileExtent {
	return func(e []FileExtent) []FileExtent { e[1].Flags |= f; return e }
}
