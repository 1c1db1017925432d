//go:build root

package migrate

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/update"
)

// cutter kills a run at the n-th time that it asks its surroundings for
// something: it panics, so that nothing behind it runs but what closes files.
type cutter struct{ left int }

type killed struct{}

func (c *cutter) step() {
	if c.left--; c.left == 0 {
		panic(killed{})
	}
}

// run calls do and reports whether it was killed.
func (c *cutter) run(t *testing.T, do func() error) (cut bool) {
	t.Helper()
	defer func() {
		r := recover()
		if _, ok := r.(killed); ok {
			cut = true
		} else if r != nil {
			panic(r)
		}
	}()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	return false
}

// arm makes each of a machine's seams a place to be cut at.
func (c *cutter) arm(m *oldMachine, o *PrepareOptions) (restore func()) {
	was, wasOptions := *m.host, *o
	m.host.statfs = func(p string) (int64, int64, error) { c.step(); return was.statfs(p) }
	m.host.open = func(p string) (device, error) { c.step(); return was.open(p) }
	m.host.openWrite = func(p string) (device, error) { c.step(); d, err := was.openWrite(p); return cutDevice{d, c}, err }
	o.Initramfs = func(w io.Writer, need []string) error {
		c.step()
		err := wasOptions.Initramfs(w, need)
		c.step()
		return err
	}
	return func() { *m.host, *o = was, wasOptions }
}

// cutDevice is cut before each sync, and before each 64th write.
type cutDevice struct {
	device
	c *cutter
}

func (d cutDevice) Sync() error {
	d.c.step()
	return d.device.Sync()
}

// step: what is cut is the same for both file systems, and XFS shows what it
// makes of it as well with every third.
var step = map[string]int{"ext4": 1, "xfs": 3}

// TestPrepareCuts kills prepare at every seam. Whatever that leaves, the old
// loader is in charge, prepare goes on, and abort leaves nothing behind.
func TestPrepareCuts(t *testing.T) {
	for kind, mkfs := range rootFilesystems {
		for _, tier := range []Tier{Carve, Gather} {
			t.Run(kind+" "+string(tier), func(t *testing.T) {
				m, v := newOldMachine(t, 2048, mkfs...), newVendor(t, 6*mib)
				o := m.options(v, v.bundle(t, "2.0.0"))
				o.SlotSize, o.Tier = 16*mib, tier
				if tier == Gather {
					m.forgetData()
				}
				cuts := 0
				for n := 1; ; n += step[kind] {
					c := &cutter{left: n}
					restore := c.arm(m, &o)
					cut := c.run(t, func() error { _, err := m.prepare(t.Context(), o); return err })
					restore()
					if !bytes.Equal(m.read(0, sector), m.lba0) {
						t.Fatalf("cut %d: the first sector has changed", n)
					}
					if !cut {
						break
					}
					cuts++
					if n%2 == 0 { // half of them are taken back at once
						if _, err := m.abort(); err != nil && exitOf(err) != "nothing" {
							t.Fatalf("cut %d: abort: %v", n, err)
						}
						m.checkClean()
						continue
					}
					p, err := m.prepare(t.Context(), o)
					if err != nil {
						t.Fatalf("cut %d: prepare again: %v", n, err)
					}
					if tier == Carve {
						m.checkPrepared(p.Journal, v)
					} else {
						m.checkStaged(p.Journal, filepath.Join(v.dir, "2.0.0.abu"))
					}
					if _, err := m.abort(); err != nil {
						t.Fatalf("cut %d: abort: %v", n, err)
					}
					m.checkClean()
				}
				if _, err := m.abort(); err != nil {
					t.Fatal(err)
				}
				m.checkClean()
				m.fsck(kind)
				t.Logf("%d cuts", cuts)
			})
		}
	}
}

func exitOf(err error) string {
	if strings.Contains(err.Error(), update.ErrNothing.Error()) {
		return "nothing"
	}
	return err.Error()
}

// forgetData removes the customer's data, which gather would overwrite.
func (m *oldMachine) forgetData() { must(m.t, os.RemoveAll(filepath.Join(m.dir, "home"))) }

// checkStaged reads the bundle as the migrator will: by the stage map, past
// the file system.
func (m *oldMachine) checkStaged(j *Journal, path string) {
	m.t.Helper()
	stage, err := readStage(m.disk(), j)
	must(m.t, err)
	want, err := os.ReadFile(path)
	must(m.t, err)
	got := make([]byte, j.Stage.BundleSize)
	_, err = stagedFile{m.disk(), stage.Bundle}.ReadAt(got, 0)
	must(m.t, err)
	if j.Phase != PhasePrepared || !bytes.Equal(got, want) || mapSize(stage.Archive) < archiveSize {
		m.t.Fatalf("phase %q, bundle of %d bytes and not %d, archive of %d", j.Phase, len(got), len(want), mapSize(stage.Archive))
	}
}

// TestGatherGoesOn cuts the fetching of a bundle: what is right on the disk is
// not fetched again.
func TestGatherGoesOn(t *testing.T) {
	m, v := newOldMachine(t, 2048, rootFilesystems["ext4"]...), newVendor(t, 40*mib)
	path := v.bundle(t, "2.0.0")
	m.forgetData()
	o := m.options(v, path)
	o.Tier = Gather
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(label string, done, total int64) {
		if label == "fetching the bundle" && done > total/2 {
			cancel()
		}
	}
	// The source notices; a file does not, so it is told.
	o.Source = cancelled{o.Source, ctx}
	if _, err := m.prepare(ctx, o); err == nil {
		t.Fatal("the cancelled prepare succeeded")
	}
	p, err := m.prepare(t.Context(), m.optionsOf(o, v, path))
	must(t, err)
	m.checkStaged(p.Journal, path)
	if p.BytesReused < 5*mib || p.BytesReused+p.BytesWritten < p.Journal.Stage.BundleSize {
		t.Errorf("%d bytes were kept and %d written of %d", p.BytesReused, p.BytesWritten, p.Journal.Stage.BundleSize)
	}
	so := startOptions()
	if _, err := m.start(so); err == nil || !strings.Contains(err.Error(), "gather") {
		t.Errorf("gather started without --accept-no-return: %v", err)
	}
	so.AcceptNoReturn = true
	if _, err := m.start(so); err != nil {
		t.Fatal(err)
	}
}

// cancelled is a source whose streams end with their context.
type cancelled struct {
	source.Source
	ctx context.Context //nolint:containedctx // a test's
}

func (c cancelled) Open(ctx context.Context, off int64) (source.Stream, error) {
	s, err := c.Source.Open(ctx, off)
	return cancelledStream{s, c.ctx}, err
}

type cancelledStream struct {
	source.Stream
	ctx context.Context //nolint:containedctx // a test's
}

func (c cancelledStream) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Stream.Read(p)
}

// optionsOf are o with a source of its own.
func (m *oldMachine) optionsOf(o PrepareOptions, v *vendor, path string) PrepareOptions {
	fresh := m.options(v, path)
	fresh.SlotSize, fresh.Tier = o.SlotSize, o.Tier
	return fresh
}

// TestPrepareRefuses: clear words, and nothing changed.
func TestPrepareRefuses(t *testing.T) {
	m, v := newOldMachine(t, 2048, rootFilesystems["ext4"]...), newVendor(t, 6*mib)
	path := v.bundle(t, "2.0.0")
	stranger := newVendor(t, 6*mib)
	full := func(percent int64) func() {
		_, free, _ := m.statfs("/")
		at := filepath.Join(m.dir, "home", "full")
		must(t, exec.Command("fallocate", "-l", itoa(free*percent/100), at).Run())
		return func() { os.Remove(at) }
	}
	for name, c := range map[string]struct {
		change func(o *PrepareOptions) func()
		is     error
		says   string
	}{
		"no kernel to go back to": {func(*PrepareOptions) func() {
			at := filepath.Join(m.dir, "boot", "vmlinuz-"+release)
			must(t, os.Rename(at, at+".away"))
			return func() { os.Rename(at+".away", at) }
		}, ErrRefused, "kernel is not there"},
		"a command line with quotes": {func(*PrepareOptions) func() {
			at := filepath.Join(m.proc, "cmdline")
			must(t, os.WriteFile(at, []byte(oldWords+` dyndbg="x +p"`), 0o600))
			return func() { os.WriteFile(at, []byte(oldWords), 0o600) }
		}, ErrRefused, "cannot be handed on"},
		"another vendor's bundle": {func(o *PrepareOptions) func() { o.Keyring = stranger.ring; return func() {} }, bundle.ErrSignature, ""},
		"another kind":            {func(o *PrepareOptions) func() { o.Compatible = "toaster"; return func() {} }, bundle.ErrIncompatible, "toaster"},
		"no kind":                 {func(o *PrepareOptions) func() { o.Compatible = ""; return func() {} }, update.ErrUsage, ""},
		"another product":         {func(o *PrepareOptions) func() { o.Product = "router"; return func() {} }, bundle.ErrIncompatible, "router"},
		"slots too small":         {func(o *PrepareOptions) func() { o.SlotSize = 2 * mib; return func() {} }, ErrRefused, "slot size"},
		"slots too large":         {func(o *PrepareOptions) func() { o.SlotSize = 1900 * mib; o.Tier = Carve; return func() {} }, ErrRefused, ""},
		"95 % full":               {func(*PrepareOptions) func() { return full(95) }, ErrRefused, "free"},
		"an A/B device": {func(*PrepareOptions) func() {
			at := filepath.Join(m.proc, "cmdline")
			must(t, os.WriteFile(at, []byte("ab.slot=a ab.why=good ab.seq=0000000001 ab.state=8"), 0o600))
			return func() { os.WriteFile(at, []byte(oldWords), 0o600) }
		}, ErrRefused, "A/B device already"},
	} {
		t.Run(name, func(t *testing.T) {
			o := m.options(v, path)
			undo := c.change(&o)
			_, err := m.prepare(t.Context(), o)
			undo()
			if !isErr(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %v with %q", err, c.is, c.says)
			}
			m.checkClean()
		})
	}
	if _, err := m.start(startOptions()); !isErr(err, ErrRefused) || !strings.Contains(err.Error(), "nothing is prepared") {
		t.Errorf("start without prepare: %v", err)
	}
	if _, err := m.abort(); !isErr(err, update.ErrNothing) {
		t.Errorf("abort without prepare: %v", err)
	}
}

// TestPrepareOnFragments: a file system without a long run is refused with
// words, and left as it was.
func TestPrepareOnFragments(t *testing.T) {
	m, v := newOldMachine(t, 2048, rootFilesystems["ext4"]...), newVendor(t, 6*mib)
	dir := filepath.Join(m.dir, "var", "log", "pieces")
	must(t, os.MkdirAll(dir, 0o700))
	var names []string
	for i := 0; ; i++ { // files of 4 MiB up to the end, every second one removed
		_, free, err := m.statfs("/")
		must(t, err)
		if free < 8*mib {
			break
		}
		name := filepath.Join(dir, itoa(int64(i)))
		must(t, exec.Command("fallocate", "-l", "4194304", name).Run())
		names = append(names, name)
	}
	for i := 0; i < len(names); i += 2 {
		must(t, os.Remove(names[i]))
	}
	_, m.free, _ = m.statfs("/")
	o := m.options(v, v.bundle(t, "2.0.0"))
	o.SlotSize, o.Tier = 16*mib, Carve
	if _, err := m.prepare(t.Context(), o); !isErr(err, ErrRefused) || !strings.Contains(err.Error(), "contiguous run") {
		t.Errorf("%v", err)
	}
	m.checkClean()
	m.fsck("ext4")
}

// TestStartRefuses: what has changed since prepare is found before the switch.
func TestStartRefuses(t *testing.T) {
	m, v := newOldMachine(t, 2048, rootFilesystems["xfs"]...), newVendor(t, 6*mib)
	o := m.options(v, v.bundle(t, "2.0.0"))
	o.SlotSize = 16 * mib
	prepared, err := m.prepare(t.Context(), o)
	must(t, err)
	j := prepared.Journal
	for name, c := range map[string]struct {
		change func() func()
		says   string
	}{
		"a new kernel in the old one's place": {func() func() {
			m.file("boot/vmlinuz-"+release, "updated")
			return func() { m.file("boot/vmlinuz-"+release, strings.Repeat("kernel ", 9999)) }
		}, "has been changed or removed since prepare"},
		"a byte of slot a": {func() func() {
			b := m.read(j.A.Start+mib, 1)
			m.write([]byte{b[0] ^ 1}, j.A.Start+mib)
			return func() { m.write(b, j.A.Start+mib) }
		}, "slot a does not hold the image any more"},
		"a byte of the migrator": {func() func() {
			i := slices.IndexFunc(j.BootFiles, func(b BootFile) bool { return b.Path == "/migrator/initramfs" })
			at := j.BootFiles[i].At.Start
			b := m.read(at, 1)
			m.write([]byte{b[0] ^ 1}, at)
			return func() { m.write(b, at) }
		}, "/migrator/initramfs in abboot"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := c.change()
			_, err := m.start(startOptions())
			undo()
			if !isErr(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
			if !bytes.Equal(m.read(0, sector), m.lba0) {
				t.Error("the first sector has changed")
			}
		})
	}
	if _, err := m.start(startOptions()); err != nil {
		t.Errorf("with all that undone: %v", err)
	}
}
