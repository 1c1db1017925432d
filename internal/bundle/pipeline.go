package bundle

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"
)

// ordered runs work on several goroutines and hands the results to consume
// in the order in which produce made the inputs. produce ends the run with
// io.EOF. At most workers+4 inputs are under way at once, which bounds the
// memory. Each worker has a number, for state of its own.
func ordered[In, Out any](ctx context.Context, workers int, produce func() (In, error), work func(worker int, in In) (Out, error), consume func(Out) error) error {
	type job struct {
		in   In
		out  Out
		done chan struct{}
	}
	g, ctx := errgroup.WithContext(ctx)
	todo, queue := make(chan *job), make(chan *job, workers+2)
	g.Go(func() error {
		defer close(todo)
		defer close(queue)
		for {
			in, err := produce()
			if err == io.EOF { // a wrapped one is a failure
				return nil
			}
			if err != nil {
				return err
			}
			j := &job{in: in, done: make(chan struct{})}
			for _, c := range []chan *job{queue, todo} {
				select {
				case c <- j:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	})
	for w := range workers {
		g.Go(func() error {
			for j := range todo {
				var err error
				if j.out, err = work(w, j.in); err != nil {
					return err
				}
				close(j.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		for j := range queue {
			select {
			case <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := consume(j.out); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}
