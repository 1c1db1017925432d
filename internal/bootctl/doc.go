// Package bootctl knows what GRUB and abupdate tell each other: the boot
// state, the args blocks, the state file and grub.cfg. It is the only writer
// of the abboot partition.
//
// Invariant: at every moment, also between any two sector writes, what lies
// on the disk makes GRUB boot one complete system, or the one it booted last.
// docs/boot-state.md shows the formats, the state table and what a power cut
// leaves at each write.
//
// GRUB replays no file system journal, so a file that is replaced through the
// file system may come back as the old one after a reset. Therefore every file
// here that changes is preallocated, and written in place by disk address:
// what the device acknowledged is what GRUB reads.
//
// A new disk starts with Format, an existing one with Find and Open.
package bootctl

import "errors"

// ErrBootState is wrapped by every error that says: the boot state, the state
// file or abboot cannot be read, written or trusted. It is exit code 40.
var ErrBootState = errors.New("boot state")
