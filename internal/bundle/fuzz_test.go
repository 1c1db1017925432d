package bundle

import (
	"bytes"
	"io"
	"testing"
)

// In each target: nothing panics or allocates without bound, and what is
// accepted is the one encoding of its meaning.

func FuzzManifest(f *testing.F) {
	f.Add(mustPayload(f, entries(f, vector(f, "tiny.abu"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		again, err := ParseManifest(m.Marshal())
		if err != nil {
			t.Fatalf("%v: %s", err, m.Marshal())
		}
		// Unknown fields are dropped; the rest must stay as it is.
		if !bytes.Equal(again.Marshal(), m.Marshal()) || len(m.Marshal()) > len(b) {
			t.Fatalf("%s\nbecame %s", b, again.Marshal())
		}
		if len(m.Marshal()) == len(b) && !bytes.Equal(m.Marshal(), b) {
			t.Fatalf("%s\nbecame %s", b, m.Marshal())
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a":[1,true,"x\"\\"],"b":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseCanonical(b)
		if err == nil && !bytes.Equal(appendCanonical(nil, v), b) {
			t.Fatalf("%q", b)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(find(f, entries(f, vector(f, "tiny.abu")), ManifestName).data)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b, ManifestType, MaxManifest)
		if err == nil && !bytes.Equal(e.marshal(), b) {
			t.Fatalf("%q\nbecame %q", b, e.marshal())
		}
	})
}

func FuzzKeyring(f *testing.F) {
	f.Add(vector(f, "K1.json"))
	f.Add(vector(f, "K2.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyring(b)
		if err == nil && !bytes.Equal(k.Marshal(), b) {
			t.Fatalf("%q\nbecame %q", b, k.Marshal())
		}
	})
}

func FuzzKeyrings(f *testing.F) {
	ring := vectorRing(f, "K1.json")
	f.Add(find(f, entries(f, vector(f, "tiny.abu")), KeyringsName).data)
	f.Add(EmptyKeyrings())
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := parseChain(b)
		if err != nil {
			return
		}
		if !bytes.Equal(marshalChain(chain), b) {
			t.Fatalf("%q\nbecame %q", b, marshalChain(chain))
		}
		_, _ = VerifyKeyrings(b, ring)
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(find(f, entries(f, vector(f, "tiny.abu")), "rootfs.frames").data)
	f.Add((&FrameIndex{ImageSize: 3*BlockSize + 512, FrameSize: MinFrameSize, Varied: true, Frames: []Frame{
		{Len: BlockSize, CompressedLen: 9}, {Len: BlockSize, CompressedLen: 10}, {Len: BlockSize + 512, CompressedLen: 11},
	}}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseFrames(b)
		if err == nil && !bytes.Equal(x.Marshal(), b) {
			t.Fatalf("%x\nbecame %x", b, x.Marshal())
		}
	})
}

func FuzzBlocks(f *testing.F) {
	f.Add(find(f, entries(f, vector(f, "tiny.abu")), "rootfs.blocks").data, int64(MinFrameSize+512))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if size <= 0 || size > 1<<24 { // a run may stand for the whole of it
			return
		}
		w := newBlockWriter(size)
		var next int64
		err := ScanBlocks(bytes.NewReader(b), size, func(first, n int64, h BlockHash) {
			if first != next || n < 1 || (n > 1 && h != 0) {
				t.Fatalf("block %d, %d of %x after %d", first, n, h, next)
			}
			next += n
			for range n {
				w.add([]BlockHash{h})
			}
		})
		if err == nil && (next != blockCount(size) || !bytes.Equal(w.bytes(), b)) {
			t.Fatalf("%x\nbecame %x", b, w.bytes())
		}
	})
}

// FuzzTar reads a sequence of entries under fixed names and writes it again.
func FuzzTar(f *testing.F) {
	names := []string{"a", "b.frames"}
	var good bytes.Buffer
	w := &tarWriter{w: &good}
	for _, n := range names {
		if err := w.file(n, []byte("content of "+n)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := tarReader{s: NewStream(bytes.NewReader(b))}
		var out bytes.Buffer
		w := &tarWriter{w: &out}
		for _, n := range names {
			data, err := r.small(n, 1<<16)
			if err != nil {
				return
			}
			if err := w.file(n, data); err != nil {
				t.Fatal(err)
			}
		}
		if r.end() != nil {
			return
		}
		if err := w.close(); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Fatalf("%v: %q\nbecame %q", err, b, out.Bytes())
		}
	})
}

// FuzzBundle reads whole bundles; only the vector itself may be accepted, for
// nobody else has its keys.
func FuzzBundle(f *testing.F) {
	good, ring := vector(f, "tiny.abu"), vectorRing(f, "K1.json")
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := readAll(NewStream(bytes.NewReader(b)), ring)
		if err == nil && !bytes.Equal(b, good) {
			t.Fatal("accepted")
		}
		_, _ = Inspect(NewStream(bytes.NewReader(b)))
	})
}

func FuzzKeyPEM(f *testing.F) {
	f.Add(vectorKey(f, 1).Public().PEM())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyPEM(b)
		if err != nil {
			return
		}
		again, err := ParseKeyPEM(k.PEM())
		if err != nil || again.ID != k.ID {
			t.Fatal(err)
		}
	})
}

func FuzzFilesystem(f *testing.F) {
	f.Add(make([]byte, probeSize))
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fs, err := probeFilesystem(bytes.NewReader(b))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for i, name := range fs.features {
			if !featureSyntax.MatchString(name) || (i > 0 && fs.features[i-1] >= name) {
				t.Fatalf("features %q", fs.features)
			}
		}
	})
}
