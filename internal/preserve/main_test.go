package preserve

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets garbage lie: thousands of small restores make little of it at
// a time, and collecting it took half of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
