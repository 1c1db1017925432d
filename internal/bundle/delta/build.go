package delta

import (
	"fmt"
	"io"
)

// Builder codes the frames of a new image against an old one. It is read only
// once it is made; each goroutine has a Worker of its own.
type Builder struct {
	old     io.ReaderAt
	size    int64
	where   map[uint64]int64 // hash → first block of the old image that has it
	hashes  []uint64         // of the old image's blocks
	similar *similar
	level   Level
}

// NewBuilder reads the old image of size bytes. The hashes are those of the
// blocks of both images, 0 for a block of zeros.
func NewBuilder(old io.ReaderAt, size int64, oldHashes, newHashes []uint64, level Level) (*Builder, error) {
	b := &Builder{old: old, size: size, hashes: oldHashes, where: make(map[uint64]int64, len(oldHashes)), level: level}
	for i, h := range oldHashes {
		if _, ok := b.where[h]; !ok && h != 0 {
			b.where[h] = int64(i)
		}
	}
	used, coded := make(map[uint64]bool, len(newHashes)), 0
	for _, h := range newHashes {
		used[h] = true
		if _, ok := b.where[h]; !ok && h != 0 {
			coded++
		}
	}
	gone := 0
	for _, h := range oldHashes {
		if h != 0 && !used[h] {
			gone++
		}
	}
	// What is changed is like what is gone. But where files have got other blocks
	// and the old ones are still there, unused, it is like anything.
	all := gone < coded*3/4
	var err error
	b.similar, err = indexSimilar(old, size, func(i int64) bool { return oldHashes[i] != 0 && (all || !used[oldHashes[i]]) })
	return b, err
}

// Dict is the longest dictionary that frames get, in blocks.
func (b *Builder) Dict() int64 { return dictBlocks }

const dictBlocks = MaxDict

// Worker codes frames on one goroutine.
type Worker struct {
	b       *Builder
	enc     encoder
	maker   *Maker
	window  []byte
	checked []byte
}

// NewWorker returns a worker.
func (b *Builder) NewWorker() *Worker {
	w := &Worker{b: b, maker: NewMaker(b.old, b.size, Limits{}), enc: encoder{m: new(model), effort: quick}}
	if b.level == Best {
		w.enc.effort = best
	}
	return w
}

// Encode codes a frame with these bytes, whose blocks have these hashes, and
// makes it again to be sure.
func (w *Worker) Encode(frame []byte, hashes []uint64) (*Record, error) {
	r := &Record{}
	var coded []byte
	for i, h := range hashes {
		block := frame[i*BlockSize : min((i+1)*BlockSize, len(frame))]
		o := w.b.instruction(r, h)
		if o.kind == opCoded {
			coded = fill(append(coded, block...))
		}
		r.add(o)
	}
	if len(coded) > 0 {
		if err := w.code(r, coded); err != nil {
			return nil, err
		}
	}
	return r, w.check(frame, r)
}

// fill makes the last block whole.
func fill(b []byte) []byte {
	return append(b, make([]byte, -len(b)&(BlockSize-1))...)
}

// add appends an instruction, or lengthens the last.
func (r *Record) add(o op) {
	if n := len(r.ops); n > 0 {
		last := &r.ops[n-1]
		if last.kind == o.kind && (o.kind != opCopy || last.from+last.count == o.from) {
			last.count += o.count
			return
		}
	}
	r.ops = append(r.ops, o)
}

// instruction chooses how to make one block.
func (b *Builder) instruction(r *Record, h uint64) op {
	if h == 0 {
		return op{kind: opZero, count: 1}
	}
	if n := len(r.ops); n > 0 && r.ops[n-1].kind == opCopy {
		next := r.ops[n-1].from + r.ops[n-1].count
		if next < int64(len(b.hashes)) && b.hashes[next] == h {
			return op{kind: opCopy, count: 1, from: next}
		}
	}
	if at, ok := b.where[h]; ok {
		return op{kind: opCopy, count: 1, from: at}
	}
	return op{kind: opCoded, count: 1}
}

// code codes blocks with what is like them as dictionary.
func (w *Worker) code(r *Record, coded []byte) error {
	r.coded = int64(len(coded) / BlockSize)
	limit := min(w.b.Dict(), 2*r.coded+64)
	if w.b.level == Quick {
		return w.codeWith(r, coded, w.b.similar.pieces(coded, limit))
	}
	// What of a larger dictionary is of use shows when it is used.
	if err := w.codeWith(r, coded, w.b.similar.pieces(coded, 2*limit)); err != nil {
		return err
	}
	return w.codeWith(r, coded, mostUsed(r.pieces, w.enc.used, limit))
}

// codeWith codes blocks with these pieces as dictionary.
func (w *Worker) codeWith(r *Record, coded []byte, pieces []piece) error {
	r.pieces, r.dict = pieces, 0
	for _, p := range pieces {
		r.dict += p.count
	}
	n := int(r.dict * BlockSize)
	w.window = append(w.window[:0], make([]byte, n)...)
	at := w.window
	for _, p := range r.pieces {
		if err := w.maker.read(at[:p.count*BlockSize], p.from); err != nil {
			return err
		}
		at = at[p.count*BlockSize:]
	}
	w.window = append(w.window, coded...)
	r.plain, r.code = w.enc.encode(w.window, n)
	return nil
}

// check makes the frame the way a device will.
func (w *Worker) check(frame []byte, r *Record) error {
	if cap(w.checked) < len(frame) {
		w.checked = make([]byte, len(frame))
	}
	got := w.checked[:len(frame)]
	if err := w.maker.Make(got, r); err != nil {
		return fmt.Errorf("internal error: checking a frame just coded: %w", err)
	}
	if string(got) != string(frame) {
		return fmt.Errorf("internal error: a frame just coded comes out as another")
	}
	return nil
}
