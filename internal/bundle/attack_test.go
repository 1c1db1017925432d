package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// entry is an entry of a bundle; attacks change a list of them.
type entry struct {
	name string
	data []byte
}

// entries takes a bundle apart with the standard library's tar reader.
func entries(t testing.TB, b []byte) []entry {
	t.Helper()
	var list []entry
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		must(t, err)
		data, err := io.ReadAll(tr)
		must(t, err)
		list = append(list, entry{h.Name, data})
	}
}

// assemble puts entries together without any check.
func assemble(t testing.TB, list []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := &tarWriter{w: &buf}
	for _, e := range list {
		must(t, w.file(e.name, e.data))
	}
	must(t, w.close())
	return buf.Bytes()
}

func find(t testing.TB, list []entry, name string) *entry {
	t.Helper()
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	t.Fatalf("no entry %s", name)
	return nil
}

// signed returns a manifest envelope by these keys.
func signed(t testing.TB, payload []byte, keys ...*PrivateKey) []byte {
	t.Helper()
	e := &envelope{PayloadType: ManifestType, Payload: payload}
	for _, k := range keys {
		must(t, e.sign(k))
	}
	return e.marshal()
}

// refused checks that nobody gets an image out of b, and why.
func refused(t testing.TB, b []byte, trusted *Keyring, kind error) {
	t.Helper()
	_, err := readAll(NewStream(bytes.NewReader(b)), trusted)
	if !errors.Is(err, kind) {
		t.Fatalf("got %v; want %v", err, kind)
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || hint.Hint() == "" {
		t.Errorf("%v: does not say what to do next", err)
	}
}

// attack takes a good bundle apart, changes it, and wants it refused.
func attack(t *testing.T, kind error, change func(f *fixture, list []entry) []entry) {
	t.Helper()
	good.once.Do(func() {
		good.fixture = newFixture(t, nil)
		good.bundle = good.fixture.bytes(t)
	})
	list := change(good.fixture, entries(t, good.bundle))
	refused(t, assemble(t, list), good.fixture.ring, kind)
}

// good is made once: the disk need not be waited for before each attack.
var good struct {
	once    sync.Once
	fixture *fixture
	bundle  []byte
}

// resign changes the manifest's text and signs it again: what a packer with
// a valid key could do.
func resign(t *testing.T, f *fixture, list []entry, from, to string) []entry {
	t.Helper()
	e := find(t, list, ManifestName)
	env, err := parseEnvelope(e.data, ManifestType, MaxManifest)
	must(t, err)
	changed := strings.Replace(string(env.Payload), from, to, 1)
	if changed == string(env.Payload) {
		t.Fatalf("no %s in %s", from, changed)
	}
	e.data = signed(t, []byte(changed), f.key)
	return list
}

func TestAttack_ManifestBit(t *testing.T) {
	attack(t, ErrSignature, func(_ *fixture, list []entry) []entry {
		e := find(t, list, ManifestName)
		env, err := parseEnvelope(e.data, ManifestType, MaxManifest)
		must(t, err)
		env.Payload = bytes.Replace(env.Payload, []byte("1.2.3"), []byte("1.2.2"), 1)
		e.data = env.marshal()
		return list
	})
}

func TestAttack_IndexChanged(t *testing.T) {
	for _, suffix := range []string{framesSuffix, blocksSuffix} {
		attack(t, ErrSignature, func(_ *fixture, list []entry) []entry {
			data := find(t, list, "rootfs"+suffix).data
			data[len(data)-1] ^= 1
			return list
		})
	}
}

func TestAttack_FrameChanged(t *testing.T) {
	attack(t, ErrSignature, func(_ *fixture, list []entry) []entry {
		data := find(t, list, "boot"+zstSuffix).data
		data[len(data)-1] ^= 1
		return list
	})
}

func TestAttack_FrameSwapped(t *testing.T) {
	attack(t, ErrSignature, func(_ *fixture, list []entry) []entry {
		x, err := ParseFrames(find(t, list, "rootfs"+framesSuffix).data)
		must(t, err)
		zst := find(t, list, "rootfs"+zstSuffix)
		a, b := x.Frames[0].CompressedLen, x.Frames[1].CompressedLen
		swapped := append(bytes.Clone(zst.data[a:a+b]), zst.data[:a]...)
		zst.data = append(swapped, zst.data[a+b:]...)
		return list
	})
}

func TestAttack_ImagesSwapped(t *testing.T) {
	attack(t, ErrFormat, func(_ *fixture, list []entry) []entry {
		a, b := find(t, list, "rootfs"+framesSuffix), find(t, list, "boot"+framesSuffix)
		a.data, b.data = b.data, a.data
		return list
	})
}

func TestAttack_OtherBundlesImage(t *testing.T) {
	// The frames of the two are equally long.
	attack(t, ErrSignature, func(_ *fixture, list []entry) []entry {
		other := newFixture(t, func(o *CreateOptions) {
			must(t, os.WriteFile(o.Images[1].Path, bytes.Repeat([]byte("BOOT"), 1024), 0o600))
		})
		find(t, list, "boot"+zstSuffix).data = find(t, entries(t, other.bytes(t)), "boot"+zstSuffix).data
		return list
	})
}

// A whole image, in order and with right hashes, that nobody signed
// (CVE-2025-67903 in a peer).
func TestAttack_ImageNotInTheManifest(t *testing.T) {
	attack(t, ErrFormat, func(_ *fixture, list []entry) []entry {
		for _, suffix := range []string{framesSuffix, blocksSuffix, zstSuffix} {
			list = append(list, entry{"scripts" + suffix, find(t, list, "boot"+suffix).data})
		}
		return list
	})
}

func TestAttack_DuplicateJSONKey(t *testing.T) {
	attack(t, ErrFormat, func(f *fixture, list []entry) []entry {
		return resign(t, f, list, `{"compatible"`, `{"compatible":["other"],"compatible"`)
	})
}

func TestAttack_CaseVariantJSONKey(t *testing.T) {
	attack(t, ErrFormat, func(f *fixture, list []entry) []entry {
		return resign(t, f, list, `"product"`, `"Product"`)
	})
	// With the right one there too it is an unknown field, and ignored.
	f := newFixture(t, nil)
	list := resign(t, f, entries(t, f.bytes(t)), `{"compatible"`, `{"Product":"evil","compatible"`)
	r, err := Open(NewStream(bytes.NewReader(assemble(t, list))), f.ring)
	must(t, err)
	if r.Manifest().Product != "gateway" {
		t.Errorf("product %q", r.Manifest().Product)
	}
}

func TestAttack_JSONNotCanonical(t *testing.T) {
	for _, to := range []string{`"epoch": 3`, `"epoch":3.0`, `"epoch":03`, `"epoch":3e0`, `"epoch":-3`, `"epoch":null`, `"epoch":"3"`, `"epoch":9007199254740992`, `"\u0065poch":3`} {
		attack(t, ErrFormat, func(f *fixture, list []entry) []entry {
			return resign(t, f, list, `"epoch":3`, to)
		})
	}
}

func TestAttack_UnknownCriticalField(t *testing.T) {
	attack(t, ErrIncompatible, func(f *fixture, list []entry) []entry {
		return resign(t, f, list, `"epoch"`, `"critical":["verity"],"epoch"`)
	})
	attack(t, ErrIncompatible, func(f *fixture, list []entry) []entry {
		return resign(t, f, list, `"epoch"`, `"critical":["images.verity"],"epoch"`)
	})
	attack(t, ErrIncompatible, func(f *fixture, list []entry) []entry {
		return resign(t, f, list, `"format":1`, `"format":2`)
	})
}

func TestUnknownFieldIsIgnored(t *testing.T) {
	f := newFixture(t, nil)
	list := resign(t, f, entries(t, f.bytes(t)), `"epoch"`, `"critical":["epoch","images.size"],"colour":{"of":["doors"]},"epoch"`)
	// Keys must stay sorted.
	find(t, list, ManifestName).data = signed(t, bytes.Replace(mustPayload(t, list), []byte(`"compatible":["gateway-1","gateway-2"],"critical":["epoch","images.size"],"colour":{"of":["doors"]},`), []byte(`"colour":{"of":["doors"]},"compatible":["gateway-1","gateway-2"],"critical":["epoch","images.size"],`), 1), f.key)
	if _, err := readAll(NewStream(bytes.NewReader(assemble(t, list))), f.ring); err != nil {
		t.Error(err)
	}
}

func mustPayload(t testing.TB, list []entry) []byte {
	t.Helper()
	// Whether it is canonical is what the caller is about to change.
	env, err := parseEnvelope(find(t, list, ManifestName).data, ManifestType, MaxManifest)
	must(t, err)
	return env.Payload
}

func TestAttack_HugeCounts(t *testing.T) {
	for _, c := range []struct{ field, value string }{
		{"size", "1099511627776"},
		{"size", "9007199254740991"},
		{"compressedSize", "9007199254740991"},
		{"blocksSize", "9007199254740991"},
		{"frameSize", "67108864"},
		{"frameSize", "0"},
		{"size", "0"},
	} {
		attack(t, ErrFormat, func(f *fixture, list []entry) []entry {
			payload := mustPayload(t, list)
			re := regexp.MustCompile(`"` + c.field + `":[0-9]+`)
			find(t, list, ManifestName).data = signed(t, re.ReplaceAll(payload, []byte(`"`+c.field+`":`+c.value)), f.key)
			return list
		})
	}
}

func TestAttack_FileChangesAfterOpen(t *testing.T) {
	f := newFixture(t, nil)
	b := f.bytes(t)
	r, err := Open(NewStream(bytes.NewReader(b)), f.ring)
	must(t, err)
	// The file is now another one; the reader holds on to what it verified.
	other := newFixture(t, func(o *CreateOptions) { o.Version = "6.6.6" })
	copy(b[1024:], other.bytes(t)[1024:])
	clear(b[bytes.Index(b, []byte("rootfs.zst"))+512:])
	ir, err := r.Next()
	must(t, err) // the same image: its indexes hold
	if _, err := readImage(ir); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
	if r.Manifest().Version != "1.2.3" {
		t.Error("the manifest changed under the reader")
	}
}

// TestAttack_Clock: a device has no clock to trust, so nothing here may ask it.
func TestAttack_Clock(t *testing.T) {
	files, err := os.ReadDir(".")
	must(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(file.Name())
		must(t, err)
		if bytes.Contains(b, []byte(`"time"`)) {
			t.Errorf("%s imports time", file.Name())
		}
	}
}
