package update

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
)

// openedBundle is a bundle and the stream under it.
type openedBundle struct {
	*bundle.Reader
	stream source.Stream
	ranger source.Ranger // nil: the source has no ranges
}

// headGuess is how much of a bundle is asked for first, in bytes: enough for
// keyrings and manifest, and little for a slow line.
const headGuess = 16 << 10

// openBundle verifies the bundle's head and holds it against this device.
// The caller closes it.
func (u *Updater) openBundle(ctx context.Context, src source.Source, o ApplyOptions) (*openedBundle, error) {
	b := &openedBundle{}
	var err error
	if ranger, ok := src.(source.Ranger); ok {
		b.ranger = ranger
		b.stream, err = ranger.OpenRanges(ctx, []source.Range{{Off: 0, End: headGuess}})
	} else {
		b.stream, err = src.Open(ctx, 0)
	}
	if err != nil {
		return nil, err
	}
	b.Reader, err = bundle.Open(b.stream, u.trust.Keyring)
	if err == nil && o.Payload != (bundle.Digest{}) && b.Payload() != o.Payload {
		err = withHint(fmt.Errorf("%w: %s is %s %s, and not the release that the channel names", bundle.ErrSignature, src.Name(), b.Manifest().Product, b.Manifest().Version),
			"the vendor's server is being updated, or is not to be trusted; try again later")
	}
	if err == nil {
		err = u.admit(b.Reader, o)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *openedBundle) Close() error { return b.stream.Close() }

// hasRanges reports whether parts of the bundle can be fetched alone.
func (b *openedBundle) hasRanges() bool { return b.ranger != nil && b.ranger.HasRanges() }

// plan says what will be read from here on; nil is everything.
func (b *openedBundle) plan(ranges []source.Range) {
	if s, ok := b.stream.(source.Planned); ok {
		s.Plan(ranges)
	}
}

// rootImage passes over images until the one that goes into a slot, and
// returns what its blocks look like, if that can be of use.
func (b *openedBundle) rootImage() (*bundle.ImageReader, *wanted, error) {
	for _, img := range b.Manifest().Images {
		var want *wanted
		if img.Name == rootImage && b.hasRanges() {
			if want = newWanted(img); want != nil {
				b.OnBlocks(want.note)
			}
		}
		if b.hasRanges() {
			b.plan([]source.Range{{Off: 0, End: b.IndexEnd()}})
		}
		ir, err := b.Next()
		if err != nil {
			return nil, nil, err
		}
		b.plan(nil)
		if img.Name == rootImage {
			return ir, want, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: the bundle has no image %q", bundle.ErrIncompatible, rootImage)
}

// finish reads what follows the root image: it holds nothing for a slot, but
// must be well formed.
func (b *openedBundle) finish() (err error) {
	for err == nil {
		_, err = b.Next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}
