// Package ext4 makes reproducible ext4 images of directories: the same files
// give the same bytes, so an update carries only what has changed. Start with
// Make.
package ext4

import (
	"context"
	_ "embed"
	"strconv"

	"github.com/abupdate/abupdate/images/debian"
)

//go:embed mkext4
var script string

// Make writes an image of size bytes of the files in tree to out, with further
// options of mke2fs. Times in the tree later than mkext4's epoch are changed.
func Make(ctx context.Context, tree, out string, size int64, uuid string, options ...string) error {
	args := append([]string{"-c", script, "mkext4", tree, out, strconv.FormatInt(size, 10), uuid}, options...)
	return debian.Run(ctx, "", "bash", args...)
}
