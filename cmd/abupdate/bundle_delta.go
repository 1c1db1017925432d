package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/delta"
)

func newBundleDeltaCommand(a *app) *cobra.Command {
	var o bundle.DeltaOptions
	var level, out string
	c := &cobra.Command{
		Use:   "delta --from OLD.abu --to NEW.abu --out D.abud",
		Short: "Make a small bundle for devices that run an older version",
		Long: `delta codes the images of NEW.abu against those of OLD.abu. A device that runs
the old version makes the new images from its running slot and the delta; what
it cannot make so, because something has written to that slot, it takes from
the whole bundle: abupdate apply D.abud --full NEW.abu.

The delta carries the signed manifest of NEW.abu, so it needs no key. It wants
room for both images, unpacked, in the directory of --out.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.bundleDelta(c.Context(), o, level, out) },
	}
	flags := c.Flags()
	flags.StringVar(&o.From, "from", "", "bundle `OLD.abu` that devices run")
	flags.StringVar(&o.To, "to", "", "bundle `NEW.abu` that they shall run")
	flags.StringVar(&level, "level", delta.Best.String(), "`LEVEL` of effort, quick or best")
	flags.StringVar(&out, "out", "", "delta bundle `D.abud` to write")
	for _, name := range []string{"from", "to", "out"} {
		_ = c.MarkFlagRequired(name)
	}
	return c
}

func (a *app) bundleDelta(ctx context.Context, o bundle.DeltaOptions, level, out string) (err error) {
	if o.Level, err = delta.ParseLevel(level); err != nil {
		return usagef("--level: %w", err)
	}
	m, err := a.createDelta(ctx, o, out)
	if err != nil {
		return err
	}
	st, err := os.Stat(out)
	if err != nil {
		return err
	}
	a.ui.Result(result{Type: "result"}, func() {
		a.ui.Printf("%s: %s %s in %s\n", out, m.Product, m.Version, formatSize(st.Size()))
	})
	return nil
}

func (a *app) createDelta(ctx context.Context, o bundle.DeltaOptions, out string) (*bundle.Manifest, error) {
	o.Progress = func(done, total int64) { a.ui.Progress("coding "+out, done, total) }
	return bundle.CreateDelta(ctx, out, o)
}

// createDeltas makes the deltas of bundle create --delta-from.
func (a *app) createDeltas(ctx context.Context, f createFlags) error {
	for _, from := range f.deltaFrom {
		out, err := deltaPath(f.out, from)
		if err != nil {
			return err
		}
		if _, err := a.createDelta(ctx, bundle.DeltaOptions{From: from, To: f.out, Level: delta.Best}, out); err != nil {
			return err
		}
		st, err := os.Stat(out)
		if err != nil {
			return err
		}
		a.ui.Say("%s: from %s, %s", out, from, formatSize(st.Size()))
	}
	return nil
}

// deltaPath is where the delta from an older bundle goes: NEW-from-VERSION.abud.
func deltaPath(newer, older string) (string, error) {
	file, err := os.Open(older)
	if err != nil {
		return "", err
	}
	defer file.Close()
	u, err := bundle.Inspect(bundle.NewStream(file))
	if err != nil {
		return "", fmt.Errorf("%s: %w", older, err)
	}
	return strings.TrimSuffix(newer, ".abu") + "-from-" + u.Manifest.Version + ".abud", nil
}
