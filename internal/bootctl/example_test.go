package bootctl_test

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// The boot state on its way through an update, in this order because each
// line is durable before the next begins, and a device that dies between two
// of them boots the running slot, whole.
func Example() {
	disk := blockdevtest.New(64<<20, blockdev.SectorSize)
	layout := bootctl.Layout{ID: "4f1c2a90", BootPart: 1, APart: 2, BPart: 3, DataPart: 4}
	off := int64(1 << 20)
	for _, f := range bootctl.PreallocatedFiles() { // a file system would say where they are
		_ = layout.Place(f.Path, bootctl.Extent{Off: off, Len: f.Size})
		off += max(f.Size, 4096)
	}
	factory := bootctl.State{Primary: slot.A, A: bootctl.Flags{OK: true}, BKind: bootctl.KindSlot}
	_ = bootctl.Format(disk, layout, factory)

	stateOff, _ := bootctl.Find(disk)
	store, _ := bootctl.Open(disk, stateOff)
	_ = store.SetArgs(bootctl.SystemA, bootctl.Args{Device: "console=ttyS0"})

	state, _, _ := store.State()
	_ = store.SetState(bootctl.Disarm(state, slot.A)) // GRUB leaves b alone …
	_ = store.InvalidateArgs(bootctl.SystemB)         // … whatever happens to the boot state
	// Here slot b is written and read back.
	_ = store.SetArgs(bootctl.SystemB, bootctl.Args{Device: "console=ttyS0"}) // b is complete
	_ = store.SetState(bootctl.Arm(state, slot.B, bootctl.DefaultTries))      // the commit point

	complete := make(map[bootctl.System]bool)
	for _, s := range bootctl.Systems {
		_, err := store.Args(s)
		complete[s] = err == nil
	}
	state, health, _ := store.State()
	next := bootctl.Next(state, complete)
	fmt.Println(next.System, next.Why, state.B.Tries, health)
	// Output: b trial 3 [ok ok]
}
