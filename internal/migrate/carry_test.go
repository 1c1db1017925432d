package migrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// carryBed is an old system and the volume that stays, as directories.
type carryBed struct {
	t        *testing.T
	from, to *os.Root
	j        *Journal
}

func newCarryBed(t *testing.T) *carryBed {
	t.Helper()
	b := &carryBed{t: t, j: &Journal{Trees: []CopiedTree{{Path: "/root"}, {Path: "/srv/www"}, {Path: "/srv/ftp"}}}}
	open := func(files map[string]string) *os.Root {
		dir := t.TempDir()
		for name, content := range files {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o640)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
	b.from = open(map[string]string{"root/key": "secret", "srv/www/index": "hello", "srv/ftp/a": "1", "srv/other": "not carried", "etc/passwd": "x"})
	b.to = open(map[string]string{"alice/file": "hers"})
	return b
}

func (b *carryBed) carry() error {
	return carry(context.Background(), b.from, b.to, b.j, func() error { b.j.Carried = true; return nil }, func(int64) {})
}

// copyOnly stops where the copies are complete.
func (b *carryBed) copyOnly() error {
	stop := errors.New("cut")
	err := carry(context.Background(), b.from, b.to, b.j, func() error { return stop }, func(int64) {})
	if errors.Is(err, stop) {
		return nil
	}
	return err
}

// carried checks that everything is in its place, and nothing else.
func (b *carryBed) carried() {
	b.t.Helper()
	want := map[string]string{"alice/file": "hers", "root/key": "secret", "srv/www/index": "hello", "srv/ftp/a": "1"}
	for name, content := range want {
		if got, err := b.to.ReadFile(name); err != nil || string(got) != content {
			b.t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"srv/other", "etc", carryingDir, carriedDir} {
		if _, err := b.to.Lstat(name); err == nil {
			b.t.Errorf("%s is there", name)
		}
	}
}

func TestCarry(t *testing.T) {
	t.Parallel()
	b := newCarryBed(t)
	for range 2 { // again is nothing to do
		if err := b.carry(); err != nil {
			t.Fatal(err)
		}
		b.carried()
	}
}

// TestCarryGoesOn: what a cut can leave is brought to the same end.
func TestCarryGoesOn(t *testing.T) {
	t.Parallel()
	rows := map[string]func(b *carryBed) error{
		"copies not complete": func(b *carryBed) error {
			return errors.Join(b.to.MkdirAll(carryingDir+"/root", 0o700), b.to.WriteFile(carryingDir+"/root/key", []byte("sec"), 0o600))
		},
		"complete, and the journal does not know": (*carryBed).copyOnly,
		"one of them in its place": func(b *carryBed) error {
			err := errors.Join(b.copyOnly(), b.to.Rename(carriedDir+"/root", "root"))
			b.j.Carried = true
			return err
		},
		"all in their places": func(b *carryBed) error {
			if err := b.carry(); err != nil {
				return err
			}
			return b.to.Mkdir(carriedDir, 0o755)
		},
	}
	for name, prepare := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCarryBed(t)
			if err := prepare(b); err != nil {
				t.Fatal(err)
			}
			if err := b.carry(); err != nil {
				t.Fatal(err)
			}
			b.carried()
		})
	}
}

// TestCarryRefuses: a place that is taken by the customer's own files is never
// written to.
func TestCarryRefuses(t *testing.T) {
	t.Parallel()
	b := newCarryBed(t)
	if err := b.to.Mkdir("srv", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.carry(); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	if _, err := b.to.Lstat("root"); err == nil || b.j.Carried {
		t.Error("something was brought all the same")
	}
}
