package migrate

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/mkfs"
)

// DataLabel is the label of the file system for customers' data.
const DataLabel = "data"

// MakeData makes an empty file system for customers' data in a region of a
// disk. What was there is lost; a cut leaves the whole file system or nothing
// that looks like one. It makes itself durable.
func MakeData(dev blockdev.Device, r Region, uuid [16]byte) error {
	place, err := blockdev.Section(dev, r.Start, r.Size)
	if err != nil {
		return fmt.Errorf("making the file system for data: %w", err)
	}
	zero := func(off, length int64) error { return blockdev.Zero(place, off, length) }
	return mkfs.Ext4Data(place, zero, place.Sync, r.Size, uuid, DataLabel)
}
