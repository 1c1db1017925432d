package update

import (
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestCrashDelta is TestCrashUpdate with a delta: what it needs of the running
// slot is still there after every cut, and what it has written is kept.
func TestCrashDelta(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	b.images[slot.B] = append(content("new", 3*bundle.BlockSize), b.images[slot.A][:700<<10]...)
	for i := 64 << 10; i < 200<<10; i += 90 + i%37 {
		b.images[slot.B][i] += 3
	}
	b.path, _ = b.v.deltaFile(t, b.images[slot.A], b.images[slot.B], nil)
	blockdevtest.Campaign{Base: b.base, Run: b.update, Recover: b.update, Recoveries: 1, Check: b.check}.Test(t)
}
