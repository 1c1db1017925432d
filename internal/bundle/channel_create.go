package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/abupdate/abupdate/internal/atomicfile"
)

// ChannelOptions says what a channel names.
type ChannelOptions struct {
	Bundle     string        // path of the latest bundle
	Deltas     []string      // paths of delta bundles that lead to it
	StaleAfter uint64        // see Channel
	Keys       []*PrivateKey // none: an unsigned channel, for AttachSignature
}

// CreateChannel writes a channel.json at path: the release that devices of the
// product shall have, and the files beside it that lead there. The bundle's
// rotation chain goes into it, so that devices which have missed a keyring can
// check it. A file that is at path is replaced at once.
func CreateChannel(path string, o ChannelOptions) (*Channel, error) {
	c, err := createChannel(path, o)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return c, nil
}

func createChannel(path string, o ChannelOptions) (*Channel, error) {
	whole, err := readMember(path, o.Bundle)
	if err != nil {
		return nil, err
	}
	if whole.from != nil {
		return nil, fmt.Errorf("%s is a delta, not a whole bundle", o.Bundle)
	}
	if _, err := checkChain(whole.chain); err != nil {
		return nil, err
	}
	m := whole.Manifest
	c := &Channel{Product: m.Product, Version: m.Version, Bundle: whole.file, Manifest: digest(whole.envelope.Payload), StaleAfter: o.StaleAfter, Keyrings: whole.chain}
	for _, p := range o.Deltas {
		d, err := readMember(path, p)
		if err != nil {
			return nil, err
		}
		if d.from == nil || !bytes.Equal(d.envelope.Payload, whole.envelope.Payload) {
			return nil, fmt.Errorf("%s is no delta that leads to %s", p, o.Bundle)
		}
		c.Deltas = append(c.Deltas, Delta{d.file, *d.from})
	}
	slices.SortFunc(c.Deltas, func(a, b Delta) int { return cmp.Compare(a.Path, b.Path) })
	if err := c.check(); err != nil {
		return nil, err
	}
	e := &envelope{PayloadType: ChannelType}
	if e.Payload, err = c.payload(); err != nil {
		return nil, err
	}
	for _, key := range o.Keys {
		if err := e.sign(key); err != nil {
			return nil, err
		}
	}
	return c, writeChannel(path, e, 0o644)
}

func writeChannel(path string, e *envelope, mode os.FileMode) error {
	b := e.marshal()
	if len(b) > MaxChannel {
		return fmt.Errorf("%d bytes; at most %d", len(b), MaxChannel)
	}
	return atomicfile.Write(path, b, mode)
}

// member is a bundle in the directory of a channel.
type member struct {
	*Unverified
	file File
	from *Digest // of a delta: the root image that it starts from
}

// readMember reads the head of a bundle, which must lie beside the channel.
func readMember(channel, path string) (*member, error) {
	here, err := filepath.Abs(filepath.Dir(channel))
	if err != nil {
		return nil, err
	}
	there, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if here != there {
		return nil, fmt.Errorf("%s must lie in the directory of the channel, %s", path, here)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	u, t, err := inspect(NewStream(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &member{Unverified: u, file: File{filepath.Base(path), st.Size()}}
	// A slot's image comes first; see scanRoot.
	ir, err := (&Reader{tar: *t, manifest: u.Manifest}).Next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d := ir.Delta(); d != nil {
		from := d.OldSHA256()
		m.from = &from
	}
	return m, nil
}

// SigningBytes returns the bytes to sign for the bundle or the channel at
// path: its PAE.
func SigningBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if isChannel(f) {
		e, err := unsignedChannel(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return e.pae(), nil
	}
	u, err := Inspect(NewStream(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return u.PAE, nil
}

// isChannel tells a channel from a bundle, which begins with the name of its
// first entry.
func isChannel(f *os.File) bool {
	var first [1]byte
	_, err := f.ReadAt(first[:], 0)
	return err == nil && first[0] == '{'
}

// unsignedChannel reads the envelope of a channel that has not all its
// signatures yet.
func unsignedChannel(f *os.File) (*envelope, error) {
	b, err := ReadChannel(f)
	if err != nil {
		return nil, err
	}
	e, o, err := channelObject(b)
	if err != nil {
		return nil, err
	}
	_, err = parseChannel(o)
	return e, err
}

// attachToChannel adds a signature to the channel in f, the file at path.
func attachToChannel(path string, f *os.File, mode os.FileMode, key Key, sig []byte) error {
	e, err := unsignedChannel(f)
	if err != nil {
		return err
	}
	if err := e.attach(key, sig); err != nil {
		return err
	}
	return writeChannel(path, e, mode)
}
