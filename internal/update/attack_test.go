package update

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// refused applies a bundle and fails the test unless it is refused with want
// before anything is written.
func (b *bed) refused(t *testing.T, path string, o ApplyOptions, want error) {
	t.Helper()
	disk := b.base.Clone()
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	before := disk.Ops()
	if _, err := apply(u, path, o); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if n := disk.Ops() - before; n != 0 {
		t.Errorf("%d writes before the refusal", n)
	}
}

// signed is a bundle by the right vendor, with one thing changed.
func (b *bed) signed(t *testing.T, edit func(*bundle.CreateOptions)) string {
	return b.v.bundleFile(t, b.images[slot.B], edit)
}

func TestAttack_RollbackOlderVersion(t *testing.T) {
	b := newBed(t, 0)
	for _, version := range []string{"0.9.0", "0.10.0", "1.0.0-rc.10"} {
		b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Version = version }), ApplyOptions{}, ErrDowngrade)
	}
}

func TestAttack_RollbackSameVersionOtherHash(t *testing.T) {
	b := newBed(t, 0)
	b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Version = "1.0.0" }), ApplyOptions{}, bundle.ErrIncompatible)
	// Build metadata does not make another version.
	b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Version = "1.0.0+evil" }), ApplyOptions{}, bundle.ErrIncompatible)
}

func TestAttack_RollbackWrongProduct(t *testing.T) {
	b := newBed(t, 0)
	for _, product := range []string{"toaster", "GW", "gw2", "g"} {
		b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Product = product }), ApplyOptions{AllowDowngrade: true, Reinstall: true}, bundle.ErrIncompatible)
	}
}

func TestAttack_RollbackWrongDevice(t *testing.T) {
	b := newBed(t, 0)
	for _, device := range []string{"gw-arm", "gw-x8", "gw-x86-64", "GW-X86"} {
		b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Compatible = []string{device} }), ApplyOptions{AllowDowngrade: true, Reinstall: true}, bundle.ErrIncompatible)
	}
}

// rotated is a device whose keyring has moved on: the vendor's first key is
// revoked, and the minimum epoch is 3.
func (b *bed) rotated(t *testing.T) *bundle.PrivateKey {
	t.Helper()
	key, err := bundle.GenerateKey(bundle.Ed25519)
	must(t, err)
	next := b.v.ring.Successor()
	must(t, next.Add(key.Public()))
	must(t, next.Revoke(b.v.key.Public().ID))
	next.MinEpoch = 3
	store := mustOpen(t, b.base, slot.A, bootctl.WhyGood).dev.Store
	// The running system's bundle is of the first keyring: it is not asked again.
	must(t, store.SetRecord(bootctl.RecordSlotA, nil))
	must(t, store.SetRecord(bootctl.RecordKeyring, next.Marshal()))
	b.base = b.base.Clone()
	return key
}

func TestAttack_RollbackOlderKeyring(t *testing.T) {
	b := newBed(t, 0)
	key := b.rotated(t)
	b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Epoch = 9 }), ApplyOptions{}, bundle.ErrSignature)
	// Together with the new key, but counted alone.
	b.refused(t, b.signed(t, func(o *bundle.CreateOptions) { o.Epoch, o.Keys = 2, []*bundle.PrivateKey{key} }), ApplyOptions{}, ErrDowngrade)
}

func TestAttack_RollbackOlderEpoch(t *testing.T) {
	b := newBed(t, 0)
	key := b.rotated(t)
	for _, epoch := range []uint64{0, 1, 2} {
		path := b.signed(t, func(o *bundle.CreateOptions) { o.Epoch, o.Keys = epoch, []*bundle.PrivateKey{key} })
		b.refused(t, path, ApplyOptions{AllowDowngrade: true, Reinstall: true}, ErrDowngrade)
	}
}

// TestAttack_RollbackIntoTheOtherSlot: the other slot still holds a system of
// an older epoch; whoever may type rollback does not get it back.
func TestAttack_RollbackIntoTheOtherSlot(t *testing.T) {
	b := newBed(t, 0)
	b.path = b.signed(t, func(o *bundle.CreateOptions) { o.Epoch = 5 })
	must(t, b.update(b.base))
	u := mustOpen(t, b.base, slot.B, bootctl.WhyGood)
	if step, err := u.Rollback(context.Background(), false); !errors.Is(err, ErrDowngrade) {
		t.Errorf("step %v, %v", step, err)
	}
}

// TestAttack_EpochRecordLost: without its record the epoch follows from the
// running system again.
func TestAttack_EpochRecordLost(t *testing.T) {
	b := newBed(t, 0)
	b.path = b.signed(t, func(o *bundle.CreateOptions) { o.Epoch = 5 })
	must(t, b.update(b.base))
	must(t, mustOpen(t, b.base, slot.B, bootctl.WhyGood).dev.Store.SetRecord(bootctl.RecordEpoch, nil))
	u := mustOpen(t, b.base, slot.B, bootctl.WhyGood)
	old := b.signed(t, func(o *bundle.CreateOptions) { o.Epoch, o.Version = 4, "3.0.0" })
	if _, err := apply(u, old, ApplyOptions{AllowDowngrade: true}); !errors.Is(err, ErrDowngrade) {
		t.Errorf("an older epoch: %v", err)
	}
}

func TestAttack_TooLargeForTheSlot(t *testing.T) {
	b := newBed(t, 0)
	path := b.v.bundleFile(t, content("large", slotSize+512), nil)
	b.refused(t, path, ApplyOptions{}, ErrNoFit)
}

// TestAttack_BadFrame breaks a byte in each tenth of the frames: what was
// written before it never boots, and the running slot is as it was.
func TestAttack_BadFrame(t *testing.T) {
	b := newBed(t, 0)
	whole, err := os.ReadFile(b.path)
	must(t, err)
	path := filepath.Join(t.TempDir(), "evil.abu")
	for tenth := 1; tenth < 10; tenth++ {
		evil := append([]byte(nil), whole...)
		evil[20000+tenth*(len(whole)-24000)/10] ^= 1
		must(t, os.WriteFile(path, evil, 0o600))
		disk := b.base.Clone()
		u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
		if _, err := apply(u, path, ApplyOptions{}); !errors.Is(err, bundle.ErrSignature) && !errors.Is(err, bundle.ErrFormat) {
			t.Errorf("tenth %d: %v", tenth, err)
		}
		must(t, mustOpen(t, disk, slot.A, bootctl.WhyGood).Arm(context.Background()))
		for range 4 { // tries that nobody may have given it
			if id, why, err := b.powerOn(disk); err != nil || id != slot.A || why != bootctl.WhyGood {
				t.Errorf("tenth %d: slot %v boots (%v), %v", tenth, id, why, err)
			}
		}
	}
}

// TestAttack_BundleChangesBetweenPasses: the file is another one after
// --verify-first has read it.
func TestAttack_BundleChangesBetweenPasses(t *testing.T) {
	b := newBed(t, 0)
	other, err := os.ReadFile(b.v.bundleFile(t, content("other", 2*mib), func(o *bundle.CreateOptions) { o.Version = "6.6.6" }))
	must(t, err)
	disk := b.base.Clone()
	dev, err := OnDisk(disk, slot.A, bootctl.WhyGood)
	must(t, err)
	changed := false
	u, err := Open(dev, Options{AgentVersion: "1.0.0", Progress: func(label string, done, total int64) {
		if strings.HasPrefix(label, "verifying") && done == total && !changed {
			changed = true
			must(t, os.WriteFile(b.path, other, 0o600)) // the same file, in place
		}
	}})
	must(t, err)
	before := disk.Ops()
	if _, err := apply(u, b.path, ApplyOptions{VerifyFirst: true}); err == nil || !changed {
		t.Errorf("changed: %v; %v", changed, err)
	}
	if n := disk.Ops() - before; n > 0 && !disk.Same(b.base) {
		if id, _, err := b.powerOn(disk); err != nil || id != slot.A {
			t.Errorf("slot %v boots, %v", id, err)
		}
	}
}

// TestAttack_LockIsALink: whoever plants a link in the place of the lock does
// not get us to open, or lock, what it points to.
func TestAttack_LockIsALink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("keep"), 0o600))
	link := filepath.Join(dir, "lock")
	must(t, os.Symlink(victim, link))
	if f, err := lock(link); !errors.Is(err, unix.ELOOP) {
		t.Errorf("lock = %v, %v; want ELOOP", f, err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "keep" {
		t.Errorf("the victim holds %q, %v", b, err)
	}
}

// TestAttack_DiskIsADevice: --disk is for images; a device node of a mounted
// disk would be written under its file system.
func TestAttack_DiskIsADevice(t *testing.T) {
	for _, path := range []string{"/dev/null", "/dev", "/proc/self/mem"} {
		if d, err := OpenImage(path, ReadWrite); err == nil {
			d.Close()
			t.Errorf("%s was opened", path)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	if _, err := OpenImage(fifo, ReadWrite); !errors.Is(err, ErrUsage) {
		t.Errorf("a FIFO: %v", err)
	}
}

// TestAttack_UnprivilegedCaller runs this test again as nobody.
func TestAttack_UnprivilegedCaller(t *testing.T) {
	if os.Geteuid() != 0 {
		for _, mode := range []Mode{ReadOnly, ReadWrite} {
			if _, err := OpenLive(mode); !errors.Is(err, os.ErrPermission) {
				t.Errorf("OpenLive(%v) as user %d: %v", mode, os.Geteuid(), err)
			}
		}
		return
	}
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	dir, err := os.MkdirTemp("", "") // nobody may not look into t.TempDir
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "test")
	must(t, os.WriteFile(program, self, 0o755))
	cmd := exec.Command(program, "-test.run=^TestAttack_UnprivilegedCaller$")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAttack_ClockAt1970(t *testing.T) { updateAt(t, time.Unix(0, 0)) }
func TestAttack_ClockAt2099(t *testing.T) { updateAt(t, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)) }

// updateAt updates a device whose clock says this: no signature, key or
// version is judged by it.
func updateAt(t *testing.T, now time.Time) {
	b := newBed(t, 0)
	at := func(disk *blockdevtest.Disk, id slot.ID, why bootctl.Why) *Updater {
		dev, err := OnDisk(disk, id, why)
		must(t, err)
		u, err := Open(dev, Options{AgentVersion: "1.0.0", Now: func() time.Time { return now }})
		must(t, err)
		return u
	}
	u := at(b.base, slot.A, bootctl.WhyGood)
	_, err := apply(u, b.path, ApplyOptions{})
	must(t, err)
	must(t, u.Arm(context.Background()))
	id, why, err := b.powerOn(b.base)
	must(t, err)
	must(t, at(b.base, id, why).Commit())
	evil := newVendor(t).bundleFile(t, b.images[slot.A], func(o *bundle.CreateOptions) { o.Version = "9.0.0" })
	src, err := source.Open(context.Background(), evil, nil, source.Options{})
	must(t, err)
	defer src.Close()
	if _, err := at(b.base, slot.B, bootctl.WhyGood).Apply(context.Background(), src, ApplyOptions{}); !errors.Is(err, bundle.ErrSignature) {
		t.Errorf("another vendor's bundle: %v", err)
	}
}
