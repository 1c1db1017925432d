package bundle

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// largeStream is a bundle of more than 4 GiB that is made up while it is
// read: its frames are gaps, but for the last one.
type largeStream struct {
	head []byte // up to the first frame
	gap  int64
	tail []byte // the last frame, padding, end of the tar
	last int    // byte of tail that is the last of the payload
}

func (s *largeStream) Read(b []byte) (int, error) {
	switch {
	case len(s.head) > 0:
		n := copy(b, s.head)
		s.head = s.head[n:]
		return n, nil
	case s.gap > 0:
		n := min(int64(len(b)), s.gap)
		clear(b[:n])
		s.gap -= n
		return int(n), nil
	case len(s.tail) > 0:
		n := copy(b, s.tail)
		s.tail = s.tail[n:]
		return n, nil
	}
	return 0, io.EOF
}

func (s *largeStream) Discard(n int64) error {
	if len(s.head) > 0 || n > s.gap {
		return errors.New("the test skips only frames of the gap")
	}
	s.gap -= n
	return nil
}

// newLarge describes an image of n frames that do not compress.
func newLarge(t *testing.T, frames int, key *PrivateKey) *largeStream {
	t.Helper()
	last := make([]byte, MaxFrameSize)
	_, _ = rand.Read(last)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(MaxFrameSize), zstd.WithSingleSegment(true))
	must(t, err)
	compressed := z.EncodeAll(last, nil)

	sum, compressedSum := digest(last), digest(compressed)
	x := &FrameIndex{ImageSize: int64(frames) * MaxFrameSize, FrameSize: MaxFrameSize}
	for i := range frames {
		x.Frames = append(x.Frames, Frame{
			Off: int64(i) * MaxFrameSize, Len: MaxFrameSize, SHA256: sum,
			CompressedLen: len(compressed), CompressedSHA256: compressedSum,
		})
	}
	index := x.Marshal()
	blocks := newBlockWriter(x.ImageSize)
	blocks.run = uint64(blockCount(x.ImageSize))
	m := &Manifest{
		Format: 1, Product: "large", Version: "1.0.0", Compatible: []string{"x"},
		Images: []Image{{
			Name: "rootfs", Size: x.ImageSize, FrameSize: MaxFrameSize, CompressedSize: x.CompressedSize(),
			FramesSHA256: digest(index), BlocksSHA256: digest(blocks.bytes()), BlocksSize: int64(len(blocks.bytes())),
		}},
	}
	var head, tail bytes.Buffer
	w := &tarWriter{w: &head}
	must(t, w.file(KeyringsName, EmptyKeyrings()))
	must(t, w.file(ManifestName, signed(t, m.Marshal(), key)))
	must(t, w.file("rootfs.frames", index))
	must(t, w.file("rootfs.blocks", blocks.bytes()))
	must(t, w.entry("rootfs.zst", x.CompressedSize()))
	w.w, w.left = &tail, int64(len(compressed))
	_, err = w.Write(compressed)
	must(t, err)
	must(t, w.close())
	return &largeStream{head.Bytes(), x.CompressedSize() - int64(len(compressed)), tail.Bytes(), len(compressed) - 1}
}

// Payloads beyond 2, 4 and 8 GiB with the last byte flipped (as in
// CVE-2026-34155, where a size was cut to 32 bits before it was checked).
func TestAttack_LastByteOfLargePayload(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, 1, key)
	for _, frames := range []int{130, 260, 520} {
		for _, flip := range []bool{false, true} {
			s := newLarge(t, frames, key)
			if flip {
				s.tail[s.last] ^= 1
			}
			err := readLast(s, ring)
			if flip && !errors.Is(err, ErrSignature) {
				t.Errorf("%d frames: %v", frames, err)
			}
			if !flip && err != nil {
				t.Errorf("%d frames: %v", frames, err)
			}
		}
	}
}

// readLast skips all frames but the last.
func readLast(s Stream, ring *Keyring) error {
	r, err := Open(s, ring)
	if err != nil {
		return err
	}
	ir, err := r.Next()
	if err != nil {
		return err
	}
	for range len(ir.Frames()) - 1 {
		if err := ir.SkipFrame(); err != nil {
			return err
		}
	}
	i, compressed, err := ir.ReadFrame(nil)
	if err != nil {
		return err
	}
	d, err := NewDecoder(MaxFrameSize)
	if err != nil {
		return err
	}
	if _, err := d.Decode(nil, ir.Frames()[i], compressed); err != nil {
		return err
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// GNU tar reads the base-256 size of an entry of 8 GiB and more.
func TestJudge_TarLargeSize(t *testing.T) {
	tar := need(t, "tar", "tar")
	for _, size := range []int64{tarMaxOctal, tarMaxOctal + 1, 1 << 40} {
		h := tarHeader("rootfs.zst", size)
		if got, err := parseTarHeader(&h, "rootfs.zst"); err != nil || got != size {
			t.Errorf("%d: %d, %v", size, got, err)
		}
		cmd := exec.Command(tar, "-tvf", "-")
		cmd.Stdin = bytes.NewReader(h[:])
		out, _ := cmd.Output() // it complains of the missing content
		if want := fmt.Sprintf(" %d 1980-01-01", size); !bytes.Contains(out, []byte(want)) {
			t.Errorf("tar lists %q; want %q", out, want)
		}
	}
}
