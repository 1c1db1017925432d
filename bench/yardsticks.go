package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// casyncFetch is what casync fetches to make an image beside another: the
// index, and the chunks that the other's store does not have.
func (b *bench) casyncFetch(from, to string) contestant {
	return contestant{
		name: "casync, 64 KiB chunks", rounds: 1, needs: []string{"casync"},
		command: fmt.Sprintf("casync make %s.caibx %s.img; the chunks that %s.castr lacks", to, to, from),
		run: func() (u usage, err error) {
			for _, image := range []string{from, to} {
				if _, err := b.casyncMake(image); err != nil {
					return u, err
				}
			}
			if u.fetched, err = size(b.path(to + ".caibx")); err != nil {
				return u, err
			}
			store, old := b.path(to+".castr"), b.path(from+".castr")
			err = filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				name, err := filepath.Rel(store, path)
				if err != nil || exists(filepath.Join(old, name)) {
					return err
				}
				st, err := d.Info()
				u.fetched += st.Size()
				return errors.Join(err)
			})
			return u, err
		},
	}
}

// missingBlocks is the least that any method by 4 KiB blocks can fetch: those
// that the other image has nowhere, packed together, without any index.
func (b *bench) missingBlocks(from, to string) contestant {
	return contestant{
		name: "yardstick: missing 4 KiB blocks, one zstd -19 stream, no index", rounds: 1, needs: []string{"zstd"},
		command: "zstd -19 --long=27",
		run: func() (u usage, err error) {
			raw := b.path("missing.raw")
			defer b.remove("missing.raw", "missing.zst")
			if err := writeMissing(b.image(from), b.image(to), raw); err != nil {
				return u, err
			}
			if err := b.do("zstd", "-q", "-f", "-19", "--long=27", raw, "-o", b.path("missing.zst")); err != nil {
				return u, err
			}
			u.fetched, err = size(b.path("missing.zst"))
			return u, err
		},
	}
}

// writeMissing writes the blocks of one image that another has nowhere.
func writeMissing(from, to, out string) error {
	const block = 4096
	have := map[[sha256.Size]byte]bool{sha256.Sum256(make([]byte, block)): true}
	if err := eachBlock(from, block, func(b []byte) error { have[sha256.Sum256(b)] = true; return nil }); err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	err = eachBlock(to, block, func(b []byte) error {
		if have[sha256.Sum256(b)] {
			return nil
		}
		_, err := f.Write(b)
		return err
	})
	return errors.Join(err, f.Close())
}

func eachBlock(path string, block int, visit func(b []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 256*block)
	for {
		n, err := io.ReadFull(f, buf)
		if n == 0 {
			if err == io.EOF {
				return nil
			}
			return err
		}
		for at := 0; at+block <= n; at += block {
			if err := visit(buf[at : at+block]); err != nil {
				return err
			}
		}
	}
}
