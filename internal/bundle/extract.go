package bundle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/atomicfile"
)

// Extract verifies a bundle like Verify and writes its parts to the
// directory dir: keyrings.json, manifest.dsse.json, manifest.json and an
// image NAME.img for each. A file appears under its name when it is complete
// and verified, and not before. Runs of zeros become holes.
func Extract(ctx context.Context, s Stream, trusted *Keyring, dir string, progress func(done, total int64)) (*Manifest, error) {
	r, err := Open(s, trusted)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	open := func(img Image) (imageSink, error) {
		f, err := atomicfile.Create(filepath.Join(dir, img.Name+".img"), 0o644)
		return &fileSink{f, img.Size}, err
	}
	if err := r.whole(ctx, progress, open); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{KeyringsName, r.keyrings},
		{ManifestName, r.envelope},
		{"manifest.json", r.manifest.Marshal()},
	} {
		if err := atomicfile.Write(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return nil, err
		}
	}
	return r.manifest, nil
}

// fileSink writes an image to a file, with holes where frames are zero.
type fileSink struct {
	file *atomicfile.File
	size int64
}

func (s *fileSink) frame(f Frame, data []byte) error {
	if f.Zero {
		return nil
	}
	_, err := s.file.WriteAt(data, f.Off)
	return err
}

func (s *fileSink) commit() error {
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("extending: %w", err)
	}
	return s.file.Commit()
}

func (s *fileSink) abort() { s.file.Abort() }
