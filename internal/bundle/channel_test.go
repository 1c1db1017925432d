package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/abupdate/abupdate/internal/bundle/delta"
)

// newChannel makes the directory of a channel: a bundle, a delta that leads to
// it, and channel.json, of which it returns the path.
func newChannel(t testing.TB, f *fixture) string {
	t.Helper()
	dir := filepath.Dir(f.path)
	o := f.options
	o.Version = "1.2.2"
	image := filepath.Join(dir, "old.img")
	must(t, os.WriteFile(image, append(bytes.Clone(f.images["rootfs"][:4096]), f.images["rootfs"]...)[:len(f.images["rootfs"])], 0o600))
	o.Images = append([]ImageSource{{Name: "rootfs", Path: image}}, o.Images[1:]...)
	old, d := filepath.Join(dir, "old.abu"), filepath.Join(dir, "old-new.abud")
	_, err := Create(context.Background(), old, o)
	must(t, err)
	_, err = CreateDelta(context.Background(), d, DeltaOptions{From: old, To: f.path, Level: delta.Quick})
	must(t, err)
	path := filepath.Join(dir, ChannelName)
	_, err = CreateChannel(path, ChannelOptions{Bundle: f.path, Deltas: []string{d}, Keys: []*PrivateKey{f.key}, StaleAfter: 1_900_000_000})
	must(t, err)
	return path
}

func TestChannel(t *testing.T) {
	f := newFixture(t, nil)
	b, err := os.ReadFile(newChannel(t, f))
	must(t, err)
	c, err := VerifyChannel(b, f.ring)
	must(t, err)
	r, err := Open(NewStream(bytes.NewReader(f.bytes(t))), f.ring)
	must(t, err)
	if c.Product != "gateway" || c.Version != "1.2.3" || c.Bundle != (File{"test.abu", int64(len(f.bytes(t)))}) || c.Manifest != r.Payload() || c.StaleAfter != 1_900_000_000 {
		t.Errorf("%+v", c)
	}
	old, err := os.ReadFile(filepath.Join(filepath.Dir(f.path), "old.img"))
	must(t, err)
	if len(c.Deltas) != 1 || c.Deltas[0].Path != "old-new.abud" || c.Deltas[0].From != digest(old) {
		t.Errorf("%+v", c.Deltas)
	}
}

// A device that has missed a rotation follows a channel that is signed under
// the newest keyring: the steps to it are in the channel.
func TestChannelAfterRotation(t *testing.T) {
	first, second := newKey(t), newKey(t)
	ring := newRing(t, 1, first)
	next := ring.Successor()
	must(t, next.Add(second.Public()))
	must(t, next.Revoke(first.Public().ID))
	rotation, err := StartRotation(EmptyKeyrings(), ring, next)
	must(t, err)
	must(t, rotation.Sign(first))
	must(t, rotation.Sign(second))
	f := newFixture(t, func(o *CreateOptions) { o.Keyrings, o.Keys = rotation.Marshal(), []*PrivateKey{second} })
	path := filepath.Join(filepath.Dir(f.path), ChannelName)
	for _, c := range []struct {
		key  *PrivateKey
		want error
	}{{second, nil}, {first, ErrSignature}} { // the second row: a revoked key
		_, err = CreateChannel(path, ChannelOptions{Bundle: f.path, Keys: []*PrivateKey{c.key}})
		must(t, err)
		b, err := os.ReadFile(path)
		must(t, err)
		if _, err := VerifyChannel(b, ring); !errors.Is(err, c.want) {
			t.Errorf("got %v; want %v", err, c.want)
		}
	}
}

// A key that lives elsewhere signs a channel like a bundle.
func TestChannelSignedElsewhere(t *testing.T) {
	f := newFixture(t, nil)
	path := filepath.Join(filepath.Dir(f.path), ChannelName)
	_, err := CreateChannel(path, ChannelOptions{Bundle: f.path})
	must(t, err)
	pae, err := SigningBytes(path)
	must(t, err)
	sig, err := f.key.Sign(pae)
	must(t, err)
	must(t, AttachSignature(path, f.key.Public(), sig))
	b, err := os.ReadFile(path)
	must(t, err)
	_, err = VerifyChannel(b, f.ring)
	must(t, err)
	if err := AttachSignature(path, newKey(t).Public(), sig); err == nil {
		t.Error("a signature by another key was taken")
	}
}

// What no vendor means: a delta to another release, a delta as the bundle, a
// file that devices would not find.
func TestChannelOfWrongFiles(t *testing.T) {
	f := newFixture(t, nil)
	path := newChannel(t, f)
	dir := filepath.Dir(path)
	before, err := os.ReadFile(path)
	must(t, err)
	other := newFixture(t, nil)
	for name, o := range map[string]ChannelOptions{
		"a delta that leads elsewhere": {Bundle: filepath.Join(dir, "old.abu"), Deltas: []string{filepath.Join(dir, "old-new.abud")}},
		"a delta as the bundle":        {Bundle: filepath.Join(dir, "old-new.abud")},
		"a bundle as a delta":          {Bundle: f.path, Deltas: []string{filepath.Join(dir, "old.abu")}},
		"another directory":            {Bundle: other.path},
		"the same delta twice":         {Bundle: f.path, Deltas: []string{filepath.Join(dir, "old-new.abud"), filepath.Join(dir, "old-new.abud")}},
		"no such file":                 {Bundle: filepath.Join(dir, "nothing.abu")},
	} {
		if _, err := CreateChannel(path, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, before) {
			t.Errorf("%s: the channel has changed (%v)", name, err)
		}
	}
}

// channelPayload is a channel of one bundle as a signer may write it.
const channelPayload = `{"deltas":[],"format":1,"keyrings":[],"manifestSha256":"` +
	`0000000000000000000000000000000000000000000000000000000000000000","path":"b.abu","product":"gateway","size":9,"version":"1.2.3"}`

func signedChannel(t testing.TB, payloadType, payload string, keys ...*PrivateKey) []byte {
	t.Helper()
	e := &envelope{PayloadType: payloadType, Payload: []byte(payload)}
	for _, k := range keys {
		must(t, e.sign(k))
	}
	return e.marshal()
}

func TestAttack_ChannelNotSigned(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	ring := newRing(t, 2, key, newKey(t))
	for name, b := range map[string][]byte{
		"by nobody":                   signedChannel(t, ChannelType, channelPayload),
		"by a stranger":               signedChannel(t, ChannelType, channelPayload, stranger),
		"below the threshold":         signedChannel(t, ChannelType, channelPayload, key, stranger),
		"changed after it was signed": bytes.Replace(signedChannel(t, ChannelType, channelPayload, key), []byte(`"payload":"eyJk`), []byte(`"payload":"eyJl`), 1),
	} {
		if _, err := VerifyChannel(b, ring); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A signature over a manifest is none over a channel, and the other way round.
func TestAttack_ChannelOfAnotherType(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, 1, key)
	if _, err := VerifyChannel(signedChannel(t, ManifestType, channelPayload, key), ring); !errors.Is(err, ErrFormat) {
		t.Errorf("a manifest's payload type: %v", err)
	}
	other := &envelope{PayloadType: ManifestType, Payload: []byte(channelPayload)}
	must(t, other.sign(key))
	other.PayloadType = ChannelType
	if _, err := VerifyChannel(other.marshal(), ring); !errors.Is(err, ErrSignature) {
		t.Errorf("a manifest's signature: %v", err)
	}
}

// A channel points to nothing outside of its directory, whoever signed it.
func TestAttack_ChannelPointsElsewhere(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, 1, key)
	_, err := VerifyChannel(signedChannel(t, ChannelType, channelPayload, key), ring)
	must(t, err)
	for _, path := range []string{"../b.abu", "/etc/passwd", "http://evil.example/b.abu", "//evil.example/b.abu", "a/b.abu", ".hidden", "", "b.abu?x=y", "b%2f..%2fc", `..\\b.abu`, "file:b.abu", strings.Repeat("b", 129)} {
		for _, payload := range []string{
			strings.Replace(channelPayload, "b.abu", path, 1),
			strings.Replace(channelPayload, `"deltas":[]`, `"deltas":[{"from":"`+strings.Repeat("0", 64)+`","path":"`+path+`","size":1}]`, 1),
		} {
			if _, err := VerifyChannel(signedChannel(t, ChannelType, payload, key), ring); !errors.Is(err, ErrFormat) {
				t.Errorf("%q: got %v", path, err)
			}
		}
	}
}

func TestAttack_ChannelFields(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, 1, key)
	many := strings.TrimSuffix(strings.Repeat(`{"from":"`+strings.Repeat("0", 64)+`","path":"d","size":1},`, maxDeltas+1), ",")
	for name, c := range map[string]struct {
		from, to string
		want     error
	}{
		"another format":     {`"format":1`, `"format":2`, ErrIncompatible},
		"a field twice":      {`"format":1`, `"format":1,"format":1`, ErrFormat},
		"another case":       {`"product"`, `"Product"`, ErrFormat},
		"no version":         {`"1.2.3"`, `"latest"`, ErrFormat},
		"a negative size":    {`"size":9`, `"size":-9`, ErrFormat},
		"a huge size":        {`"size":9`, `"size":9007199254740992`, ErrFormat},
		"too many deltas":    {`"deltas":[]`, `"deltas":[` + many + `]`, ErrFormat},
		"the same path":      {`"deltas":[]`, `"deltas":[` + many[:strings.Index(many, "},{")+1] + "," + many[:strings.Index(many, "},{")+1] + `]`, ErrFormat},
		"a rotation of none": {`"keyrings":[]`, `"keyrings":[1]`, ErrFormat},
	} {
		payload := strings.Replace(channelPayload, c.from, c.to, 1)
		if payload == channelPayload {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := VerifyChannel(signedChannel(t, ChannelType, payload, key), ring); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v; want %v", name, err, c.want)
		}
	}
}

// A reader that never ends costs a MiB.
func TestAttack_ChannelEndless(t *testing.T) {
	if _, err := ReadChannel(endless{}); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	if _, err := ReadChannel(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func FuzzChannel(f *testing.F) {
	key := newKey(f)
	f.Add([]byte(channelPayload))
	f.Add([]byte(strings.Replace(channelPayload, `"deltas":[]`, `"deltas":[{"from":"`+strings.Repeat("0", 64)+`","path":"d.abud","size":1}]`, 1)))
	ring := newRing(f, 1, key)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 64<<10 {
			return
		}
		c, err := VerifyChannel(signedChannel(t, ChannelType, string(payload), key), ring)
		if err != nil {
			return
		}
		again, err := c.payload()
		must(t, err)
		// Unknown fields are dropped; the rest must stay as it is.
		if len(again) > len(payload) || len(again) == len(payload) && !bytes.Equal(again, payload) {
			t.Fatalf("%s\nbecame %s", payload, again)
		}
	})
}
