package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Download fetches the bundle at the address ref to the file dest. dest appears,
// or is replaced, only when the file is complete and durable. Interrupted, the
// same call goes on where the last one ended, if the server still has the same
// file: the partial file lies beside dest and carries in its name which file
// it is a part of.
//
// The directory of dest must be ours and writable by us alone. The content is
// not judged here; a caller that finds it bad removes dest and calls again.
func Download(ctx context.Context, ref, dest string, o Options) error {
	u, err := parseURL(ref)
	if err != nil {
		return err
	}
	src, err := newHTTP(u, o)
	if err != nil {
		return err
	}
	defer src.Close()
	d := &download{src: src, attempts: attempts{src: src}, dest: dest}
	if err := checkDirectory(filepath.Dir(dest)); err != nil {
		return d.localError(err)
	}
	if err := d.probe(ctx); err != nil {
		return err
	}
	if err := d.removeStale(); err != nil {
		return err
	}
	if err := d.fetch(ctx); err != nil {
		return err
	}
	return d.publish()
}

// checkDirectory refuses a directory that another user made before us, or can
// write: the partial file could be exchanged under our hands.
func checkDirectory(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return fmt.Errorf("the directory %s belongs to user %d: give another one", dir, st.Uid)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("group or others may write to the directory %s (mode %04o): chmod go-w it", dir, st.Mode&0o7777)
	}
	return nil
}

// download is one call of Download.
type download struct {
	src      *httpSource
	attempts attempts
	dest     string
	part     string // path of the partial file
	size     int64
	high     int64 // how long the partial file has been at most, in this call
	resume   bool  // the server can begin in the middle, of provably the same file
}

// probe asks for one byte, to learn which file the server has. Without that a
// partial file could not be told from a part of another one, and grab takes
// any file of the right length for complete.
func (d *download) probe(ctx context.Context) error {
	for {
		ans, b, err := d.src.conn.get(ctx, 0, 1, true, "")
		if err == nil {
			b.Close()
			err = d.accept(ans)
		}
		if err == nil {
			return nil
		}
		if err := d.attempts.again(ctx, err); err != nil {
			return err
		}
	}
}

func (d *download) accept(ans answer) error {
	if ans.id.size < 0 {
		return errors.New("the server does not say how long the file is, so its end could not be told from a broken connection: use the address directly, without downloading first")
	}
	if err := d.src.learn(ans, 0, true); err != nil {
		return err
	}
	d.size = ans.id.size
	d.resume = ans.partial && ans.id.validator() != ""
	d.part = filepath.Join(filepath.Dir(d.dest), d.prefix()+d.fingerprint(ans.id)+partSuffix)
	return nil
}

const (
	partSuffix     = ".part"
	fingerprintLen = 16
)

func (d *download) prefix() string { return "." + filepath.Base(d.dest) + "." }

// fingerprint names one version of one file.
func (d *download) fingerprint(id identity) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%q\n", d.src.conn.url, id.size, id.validator()))
	return hex.EncodeToString(sum[:])[:fingerprintLen]
}

// removeStale removes the parts of other versions, which nobody will finish.
func (d *download) removeStale() error {
	dir := filepath.Dir(d.dest)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d.localError(err)
	}
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), d.prefix())
		if !ok || len(middle) != fingerprintLen+len(partSuffix) || !strings.HasSuffix(middle, partSuffix) {
			continue
		}
		if path := filepath.Join(dir, e.Name()); path != d.part {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("removing a stale part: %w", err)
			}
		}
	}
	return nil
}

// fetch completes the partial file.
func (d *download) fetch(ctx context.Context) error {
	for {
		have, err := d.start()
		if err != nil {
			return d.localError(err)
		}
		if have == d.size {
			return nil
		}
		err = d.grab(ctx, have)
		now, statErr := d.length()
		if statErr != nil {
			return d.localError(statErr)
		}
		d.attempts.progress(now - max(have, d.high))
		d.high = max(now, d.high)
		var local *fs.PathError
		switch {
		case err == nil && now == d.size:
			return nil
		case err == nil:
			err = &fault{err: fmt.Errorf("the connection ended at byte %d of %d", now, d.size)}
		case errors.Is(err, errNoRanges):
			d.resume = false
			continue
		case errors.As(err, &local):
			return d.localError(err)
		}
		if err := d.attempts.again(ctx, err); err != nil {
			return err
		}
	}
}

func (d *download) localError(err error) error {
	return fmt.Errorf("downloading to %s: %w", d.dest, err)
}

// start makes sure that there is a partial file and returns how much of it can
// be kept.
func (d *download) start() (int64, error) {
	// O_NOFOLLOW: grab opens the file again by name, and must not be led
	// elsewhere by a link that lay there before.
	f, err := os.OpenFile(d.part, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no regular file: remove it", d.part)
	}
	if !d.resume || st.Size() > d.size {
		return 0, f.Truncate(0)
	}
	return st.Size(), nil
}

func (d *download) length() (int64, error) {
	st, err := os.Lstat(d.part)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// publish gives the complete file its name.
func (d *download) publish() error {
	if err := d.syncAndRename(); err != nil {
		return d.localError(err)
	}
	return nil
}

func (d *download) syncAndRename() error {
	f, err := os.OpenFile(d.part, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	// A cut before this Sync leaves a part whose end may be missing; without
	// it the name could become durable before the content.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// COMMIT POINT: from here dest is the complete file.
	if err := os.Rename(d.part, d.dest); err != nil { //nolint:forbidigo // too large for atomicfile, which writes from memory
		return err
	}
	dir, err := os.Open(filepath.Dir(d.dest))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
