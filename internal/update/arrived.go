package update

import (
	"context"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
)

// Arrived returns the bytes of frame i that src has sent, or what a server
// sends for them when it is asked again because they are not the signed ones:
// what lies on the way may garble them. A server that goes on like that is a
// source.ErrDownload. Bytes of a file are what they are.
func Arrived(ctx context.Context, src source.Source, ir *bundle.ImageReader, i int, sent []byte) ([]byte, error) {
	f := ir.Frames()[i]
	server, ok := src.(source.Ranger)
	if !ok || f.Signed(sent) {
		return sent, nil
	}
	return server.Reread(ctx, ir.Offset(i), f.CompressedLen, f.Signed)
}
