package update

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestChoose: what a channel comes to for devices in each state.
func TestChoose(t *testing.T) {
	root := func(b byte) bundle.Image { return bundle.Image{Name: rootImage, SHA256: bundle.Digest{b}} }
	has := func(version string, img bundle.Image) SlotFacts {
		return SlotFacts{Manifest: &bundle.Manifest{Version: version, Images: []bundle.Image{img}}}
	}
	channel := func(version string) *bundle.Channel {
		return &bundle.Channel{Version: version, Bundle: bundle.File{Path: "b.abu", Size: 100}, Deltas: []bundle.Delta{
			{File: bundle.File{Path: "large.abud", Size: 30}, From: bundle.Digest{1}},
			{File: bundle.File{Path: "small.abud", Size: 20}, From: bundle.Digest{1}},
			{File: bundle.File{Path: "useless.abud", Size: 100}, From: bundle.Digest{2}},
		}}
	}
	tried := has("1.1.0", root(9))
	tried.Record = record(RecordFailed, false)
	for name, c := range map[string]struct {
		running, other SlotFacts
		latest         string
		o              ApplyOptions
		bundle, delta  string
		want           error
	}{
		"a delta, the smaller one":         {has("1.0.0", root(1)), SlotFacts{}, "1.1.0", ApplyOptions{}, "b.abu", "small.abud", nil},
		"a delta as large as the bundle":   {has("1.0.0", root(2)), SlotFacts{}, "1.1.0", ApplyOptions{}, "b.abu", "", nil},
		"no delta from what runs":          {has("1.0.0", root(3)), SlotFacts{}, "1.1.0", ApplyOptions{}, "b.abu", "", nil},
		"nothing known of what runs":       {SlotFacts{}, SlotFacts{}, "1.1.0", ApplyOptions{}, "b.abu", "", nil},
		"by number, not as text":           {has("1.9.0", root(3)), SlotFacts{}, "1.10.0", ApplyOptions{}, "b.abu", "", nil},
		"the latest runs":                  {has("1.1.0", root(3)), SlotFacts{}, "1.1.0", ApplyOptions{}, "", "", ErrNothing},
		"the latest runs, once more":       {has("1.1.0", root(3)), SlotFacts{}, "1.1.0", ApplyOptions{Reinstall: true}, "b.abu", "", nil},
		"a newer one runs":                 {has("1.2.0", root(3)), SlotFacts{}, "1.1.0", ApplyOptions{Reinstall: true}, "", "", ErrNothing},
		"a newer one runs, and is to go":   {has("1.2.0", root(3)), SlotFacts{}, "1.1.0", ApplyOptions{AllowDowngrade: true}, "b.abu", "", nil},
		"the latest was tried, and failed": {has("1.0.0", root(1)), tried, "1.1.0", ApplyOptions{}, "", "", ErrNothing},
		"tried, failed, and once more":     {has("1.0.0", root(1)), tried, "1.1.0", ApplyOptions{Reinstall: true}, "b.abu", "small.abud", nil},
		"an earlier one failed":            {has("1.0.0", root(1)), tried, "1.1.1", ApplyOptions{}, "b.abu", "small.abud", nil},
	} {
		f := factsOf(slot.A, bootctl.Flags{OK: true}, bootctl.Flags{}, bootctl.WhyGood, true, nil)
		f.Slots = [2]SlotFacts{c.running, c.other}
		got, err := choose(f, channel(c.latest), c.o)
		if !errors.Is(err, c.want) || c.want == nil && err != nil || got.Bundle != c.bundle || got.Delta != c.delta {
			t.Errorf("%s: %+v, %v; want %q, %q, %v", name, got, err, c.bundle, c.delta, c.want)
		}
	}
}

// channelOf makes the channel of a bundle and its deltas.
func (v *vendor) channelOf(t *testing.T, path string, edit func(*bundle.ChannelOptions), deltas ...string) []byte {
	t.Helper()
	o := bundle.ChannelOptions{Bundle: path, Deltas: deltas, Keys: []*bundle.PrivateKey{v.key}}
	if edit != nil {
		edit(&o)
	}
	out := filepath.Join(filepath.Dir(path), bundle.ChannelName)
	_, err := bundle.CreateChannel(out, o)
	must(t, err)
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

// A stale channel is said to be so, by a clock that can tell, and followed.
func TestChannelStale(t *testing.T) {
	v := newVendor(t)
	path := v.bundleFile(t, content("2", mib), nil)
	promised := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
	channel := v.channelOf(t, path, func(o *bundle.ChannelOptions) { o.StaleAfter = uint64(promised.Unix()) })
	for now, alarm := range map[time.Time]bool{
		promised:                  false,
		promised.Add(time.Second): true,
		time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC):  true,
		time.Date(1970, 1, 1, 0, 0, 30, 0, time.UTC): false,
	} {
		dev, err := OnDisk(v.newDisk(t, content("1", mib)), slot.A, bootctl.WhyGood)
		must(t, err)
		said := ""
		u, err := Open(dev, Options{AgentVersion: "1.0.0", Now: func() time.Time { return now }, Notice: func(format string, _ ...any) { said += format }})
		must(t, err)
		if _, err := u.Choose(channel, ApplyOptions{}); err != nil {
			t.Errorf("at %v: %v", now, err)
		}
		if got := strings.Contains(said, "stale"); got != alarm {
			t.Errorf("at %v: alarm %v: %q", now, got, said)
		}
	}
}

func TestAttack_ChannelOfAnotherProduct(t *testing.T) {
	v := newVendor(t)
	channel := v.channelOf(t, v.bundleFile(t, content("2", mib), func(o *bundle.CreateOptions) { o.Product = "toaster" }), nil)
	u := mustOpen(t, v.newDisk(t, content("1", mib)), slot.A, bootctl.WhyGood)
	if _, err := u.Choose(channel, ApplyOptions{Reinstall: true, AllowDowngrade: true}); !errors.Is(err, bundle.ErrIncompatible) {
		t.Errorf("got %v", err)
	}
}

// The server serves another signed release of the vendor under the name that
// the channel gives: between what runs and the latest, so that nothing else
// refuses it.
func TestAttack_ChannelLeadsToAnotherRelease(t *testing.T) {
	v := newVendor(t)
	latest := v.bundleFile(t, content("3", mib), func(o *bundle.CreateOptions) { o.Version = "3.0.0" })
	channel := v.channelOf(t, latest, nil)
	between := v.bundleFile(t, content("2", mib), func(o *bundle.CreateOptions) { o.Version = "2.0.0" })
	disk := v.newDisk(t, content("1", mib))
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	choice, err := u.Choose(channel, ApplyOptions{})
	must(t, err)
	before := disk.Ops()
	if _, err := apply(u, between, ApplyOptions{Payload: choice.Payload}); !errors.Is(err, bundle.ErrSignature) || disk.Ops() != before {
		t.Errorf("got %v, and %d writes", err, disk.Ops()-before)
	}
	_, err = apply(u, latest, ApplyOptions{Payload: choice.Payload})
	must(t, err)
}

// A delta that is not where it should be, or is none, costs the whole bundle.
func TestDeltaGone(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := moved(v1)
	full := v.bundleFile(t, v2, nil)
	for name, spoil := range map[string]func(w http.ResponseWriter, r *http.Request, n int64) bool{
		"gone": func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			http.NotFound(w, r)
			return true
		},
		"an error page in its place": func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
			_, _ = io.WriteString(w, strings.Repeat("<p>welcome</p>", 1000))
			return true
		},
	} {
		disk := v.newDisk(t, v1)
		s := newWebServer(t, full)
		s.spoil = spoil
		ctx := context.Background()
		src, err := source.Open(ctx, s.URL, nil, source.Options{Retries: -1, IdleTimeout: 5 * time.Second})
		must(t, err)
		whole, err := source.Open(ctx, full, nil, source.Options{})
		must(t, err)
		if _, err := mustOpen(t, disk, slot.A, bootctl.WhyGood).Apply(ctx, src, ApplyOptions{Full: whole}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !holds(t, disk, slot.B, v2) {
			t.Errorf("%s: slot b does not hold the image", name)
		}
	}
}
