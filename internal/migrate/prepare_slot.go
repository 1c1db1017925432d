package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// writeSlot writes the new system to slot a's region and reads it back by
// disk address. Frames that are there already are kept and not fetched.
func (p *preparation) writeSlot(ctx context.Context, to *region) (err error) {
	ir, b, stream, err := p.offer.openImage(ctx, p.o.Source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	if err := to.touch(); err != nil {
		return fmt.Errorf("%w: slot a: %w", update.ErrWrite, err)
	}
	w, err := partition.NewSlotWriter(to, ir.Image().Size)
	if err != nil {
		return fmt.Errorf("%w: slot a: %w", update.ErrWrite, err)
	}
	pieces, err := p.writeFrames(ctx, ir, w, to)
	p.done.BytesWritten = w.BytesWritten()
	if err != nil {
		return err
	}
	// The rest of the bundle holds nothing for a slot, but must be well formed.
	for err == nil {
		_, err = b.Next()
	}
	if err != io.EOF {
		return err
	}
	if err := w.Finish(); err != nil {
		return fmt.Errorf("%w: slot a: %w", update.ErrWrite, err)
	}
	p.done.BytesWritten = w.BytesWritten()
	total := ir.Image().Size
	if err := w.Verify(ctx, pieces, func(n int64) { p.o.Progress("reading back slot a", n, total) }); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: reading back slot a: %w", update.ErrWrite, err)
	}
	return nil
}

func (p *preparation) writeFrames(ctx context.Context, ir *bundle.ImageReader, w *partition.SlotWriter, to *region) ([]partition.Piece, error) {
	dec, err := bundle.NewDecoder(int(ir.Image().FrameSize))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	compressed, plain := make([]byte, ir.MaxCompressed()), blockdev.AlignedBuffer(int(ir.Image().FrameSize))
	var pieces []partition.Piece
	for _, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.o.Progress("writing slot a", f.Off, ir.Image().Size)
		piece := partition.Piece{Off: f.Off, Len: f.Len, SHA256: f.SHA256, Zero: f.Zero}
		pieces = append(pieces, piece)
		if to.isWritten(f.Off, f.Len) {
			held, err := w.Holds(piece)
			if err != nil {
				return nil, err
			}
			if held {
				p.done.BytesReused += f.Len
				if err := ir.SkipFrame(); err != nil {
					return nil, err
				}
				continue
			}
		}
		i, data, err := ir.ReadFrame(compressed)
		if err != nil {
			return nil, err
		}
		if data, err = update.Arrived(ctx, p.o.Source, ir, i, data); err != nil {
			return nil, err
		}
		out, err := dec.Decode(plain, f, data)
		if err != nil {
			return nil, err
		}
		if err := w.WriteFrame(f.Off, out); err != nil {
			return nil, fmt.Errorf("%w: slot a: %w", update.ErrWrite, err)
		}
	}
	p.o.Progress("writing slot a", ir.Image().Size, ir.Image().Size)
	return pieces, nil
}
