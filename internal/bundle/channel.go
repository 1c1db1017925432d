package bundle

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/Masterminds/semver/v3"
)

// ChannelName is the file that names the latest release, in the directory with
// the bundles. ChannelType is the payload type that it is signed under.
const (
	ChannelName = "channel.json"
	ChannelType = "application/vnd.abupdate.channel+json"
)

// Limits of a channel.
const (
	MaxChannel = 1 << 20 // bytes of channel.json
	maxDeltas  = 256
)

// Channel names the latest release of a product and the files beside it that
// lead there. It is signed as bundles are, but gives no trust: what its files
// are worth is decided by the signatures in them. So a forged or an old one can
// keep news from a device, and no more.
type Channel struct {
	Product string
	Version string // semantic version of the latest release
	// Bundle is the whole bundle of that release; Manifest is the SHA-256 of
	// the payload of its manifest.dsse.json.
	Bundle   File
	Manifest Digest
	Deltas   []Delta // sorted by path
	// StaleAfter is when the vendor will have signed the channel anew, in
	// seconds since 1970; 0: not promised. A device that is shown the channel
	// after that says so, and goes on.
	StaleAfter uint64
	// Keyrings is the rotation chain up to the keyring that signs the channel.
	Keyrings []byte
}

// File is a file in the directory of a channel.
type File struct {
	Path string // its name
	Size int64
}

// Delta is a delta bundle that leads to the release.
type Delta struct {
	File
	From Digest // SHA-256 of the root image of the release that it starts from
}

// fileSyntax has no separator, no scheme and no leading dot: a channel points
// to nothing outside of its own directory.
var fileSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)

// ReadChannel reads the bytes of a channel.json, and no more than one may have.
func ReadChannel(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxChannel+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ChannelName, err)
	}
	if len(b) > MaxChannel {
		return nil, formatErrorf("reading %s: more than %d bytes", ChannelName, MaxChannel)
	}
	return b, nil
}

// VerifyChannel verifies the bytes of a channel.json against a keyring that
// the device trusts, by way of the keyring chain in it, and returns the
// channel.
func VerifyChannel(b []byte, trusted *Keyring) (*Channel, error) {
	e, o, err := channelObject(b)
	if err != nil {
		return nil, err
	}
	keyrings := channelKeyrings(o)
	if o.err != nil {
		return nil, formatErrorf("reading the %w", o.err)
	}
	ring, err := VerifyKeyrings(keyrings, trusted)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ChannelName, err)
	}
	if err := e.verify(ring); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ChannelName, err)
	}
	return parseChannel(o)
}

// channelObject opens the envelope, without a look at its signatures.
func channelObject(b []byte) (*envelope, *object, error) {
	e, err := parseEnvelope(b, ChannelType, MaxChannel)
	if err != nil {
		return nil, nil, formatErrorf("reading %s: %w", ChannelName, err)
	}
	tree, err := parseCanonical(e.Payload)
	if err != nil {
		return nil, nil, formatErrorf("reading %s: %w", ChannelName, err)
	}
	return e, newObject("channel", tree), nil
}

func channelKeyrings(o *object) []byte { return appendCanonical(nil, o.array("keyrings", maxChain)) }

// parseChannel reads the fields. Unknown ones are ignored, as in a manifest.
func parseChannel(o *object) (*Channel, error) {
	if f := o.integer("format", maxInteger); o.err == nil && f != FormatVersion {
		return nil, incompatibleErrorf("the channel has format %d; this program reads format %d", f, FormatVersion)
	}
	c := &Channel{
		Product:    o.text("product"),
		Version:    o.text("version"),
		Bundle:     File{o.text("path"), int64(o.integer("size", maxInteger))},
		Manifest:   o.digest("manifestSha256"),
		StaleAfter: o.optionalInteger("staleAfter", maxInteger),
		Keyrings:   channelKeyrings(o),
	}
	for i, v := range o.array("deltas", maxDeltas) {
		d := newObject(fmt.Sprintf("channel: deltas[%d]", i), v)
		c.Deltas = append(c.Deltas, Delta{File{d.text("path"), int64(d.integer("size", maxInteger))}, d.digest("from")})
		if d.err != nil {
			return nil, formatErrorf("reading the %w", d.err)
		}
	}
	if o.err != nil {
		return nil, formatErrorf("reading the %w", o.err)
	}
	if err := c.check(); err != nil {
		return nil, formatErrorf("reading the channel: %w", err)
	}
	return c, nil
}

// check holds for every channel that is read or written.
func (c *Channel) check() error {
	if !nameSyntax.MatchString(c.Product) {
		return fmt.Errorf("product %q must match %s", clip(c.Product), nameSyntax)
	}
	if _, err := semver.StrictNewVersion(c.Version); err != nil || len(c.Version) > 128 {
		return fmt.Errorf("version %q must be a semantic version such as 1.2.3", clip(c.Version))
	}
	if err := c.Bundle.check(); err != nil {
		return err
	}
	for i, d := range c.Deltas {
		if err := d.check(); err != nil {
			return err
		}
		if i > 0 && c.Deltas[i-1].Path >= d.Path {
			return errors.New("deltas must be sorted by path and unique")
		}
	}
	return nil
}

func (f File) check() error {
	if !fileSyntax.MatchString(f.Path) {
		return fmt.Errorf("path %q must match %s: a file in the channel's own directory", clip(f.Path), fileSyntax)
	}
	return nil
}

// payload returns the canonical JSON of c, which is what gets signed.
func (c *Channel) payload() ([]byte, error) {
	keyrings, err := parseCanonical(c.Keyrings)
	if err != nil {
		return nil, fmt.Errorf("internal error: the keyrings of a channel: %w", err)
	}
	deltas := []any{}
	for _, d := range c.Deltas {
		deltas = append(deltas, map[string]any{"from": d.From.String(), "path": d.Path, "size": uint64(d.Size)})
	}
	o := map[string]any{
		"format":         uint64(FormatVersion),
		"product":        c.Product,
		"version":        c.Version,
		"path":           c.Bundle.Path,
		"size":           uint64(c.Bundle.Size),
		"manifestSha256": c.Manifest.String(),
		"deltas":         deltas,
		"keyrings":       keyrings,
	}
	if c.StaleAfter != 0 {
		o["staleAfter"] = c.StaleAfter
	}
	return appendCanonical(nil, o), nil
}
