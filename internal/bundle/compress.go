package bundle

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Compression levels, as zstd counts them. The Go encoder reaches about 11;
// from ProgramLevel on the zstd program does better.
const (
	MaxLevel     = 22
	DefaultLevel = 19
	ProgramLevel = 13
)

// compressor makes one zstd frame, with content size and without checksum
// (the index has a better one), of the bytes of one image frame. The same
// input gives the same output.
type compressor interface {
	compress(src []byte) ([]byte, error)
}

// newCompressor returns a compressor for one goroutine. program is the path
// of the zstd program, or empty.
func newCompressor(ctx context.Context, level int, frameSize int64, program string) (compressor, error) {
	if level >= ProgramLevel && program != "" {
		return &zstdProgram{ctx: ctx, path: program, level: level}, nil
	}
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		// A device's decoder accepts no window beyond the frame.
		zstd.WithWindowSize(int(frameSize)),
		zstd.WithSingleSegment(true),
	)
	if err != nil {
		return nil, fmt.Errorf("internal error: zstd encoder: %w", err)
	}
	return goZstd{z}, nil
}

type goZstd struct{ z *zstd.Encoder }

func (c goZstd) compress(src []byte) ([]byte, error) { return c.z.EncodeAll(src, nil), nil }

type zstdProgram struct {
	ctx   context.Context
	path  string
	level int
}

func (c *zstdProgram) compress(src []byte) ([]byte, error) {
	// --single-thread: with workers the output depends on their number.
	// --stream-size: makes the content size known, and bounds the window by it.
	args := []string{fmt.Sprintf("-%d", c.level), "--no-check", "--single-thread", "-q", "-c", fmt.Sprintf("--stream-size=%d", len(src))}
	if c.level > 19 {
		args = append([]string{"--ultra"}, args...)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(c.ctx, c.path, args...)
	cmd.Env = []string{"LC_ALL=C"} // no ZSTD_CLEVEL, ZSTD_NBTHREADS
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(src), &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("compressing with %s: %w: %s", c.path, err, strings.TrimSpace(clip(errs.String())))
	}
	return out.Bytes(), nil
}
