//go:build qemu

package qemu

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

const (
	// testTime is how long one test may take, without its turn in the queue.
	testTime = 15 * time.Minute
	// bootTime is how long a machine may take from a reset to its boot line.
	// Alone it is 5 s (BIOS) or 7 s (UEFI).
	bootTime = 3 * time.Minute
)

// machines holds a token for each machine that may run at once. Each keeps a
// little more than half a CPU busy; many more would make each other time out.
var machines = make(chan struct{}, runtime.NumCPU()+1)

// repo is the top of the repository.
var repo = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()

// vendor makes the appliance's parts, for all tests together.
var vendor = sync.OnceValues(func() (*factory.Factory, error) {
	return factory.New(context.Background(), repo, factoryDir, kernel.Cloud)
})

// vendorXFS is the vendor of the same appliance on XFS.
var vendorXFS = sync.OnceValues(func() (*factory.Factory, error) {
	f, err := factory.New(context.Background(), repo, filepath.Join(factoryDir, "xfs"), kernel.Cloud)
	if err == nil {
		f.Filesystem = tiny.XFS
	}
	return f, err
})

// factoryDir is made, and removed, by TestMain.
var factoryDir string

// parallel runs the test on each firmware, as subtests that may run beside
// others.
func parallel(t *testing.T, test func(t *testing.T, fw vm.Firmware)) {
	t.Parallel()
	for _, fw := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		t.Run(fw.String(), func(t *testing.T) {
			t.Parallel()
			test(t, fw)
		})
	}
}

// turn waits until a machine may be started. Its place is given back at the
// end of the test.
func turn(t *testing.T) {
	machines <- struct{}{}
	t.Cleanup(func() { <-machines })
}

// logDir returns where the test's machines leave their logs.
func logDir(t *testing.T) string {
	return filepath.Join(repo, "build", "qemu", strings.ReplaceAll(t.Name(), "/", "-"))
}

// twoSlots returns a disk with version 1.0.0 in slot a and 2.0.0 in slot b.
// No agent runs in them by itself: GRUB is alone with the boot state.
func twoSlots(t *testing.T, fw vm.Firmware) string {
	t.Helper()
	f, err := vendor()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := f.UpdatedDisk(t.Context(), fw, "1.0.0", tiny.Undecided, "2.0.0", tiny.Undecided)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}
