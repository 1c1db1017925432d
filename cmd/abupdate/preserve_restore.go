package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/preserve"
	"github.com/abupdate/abupdate/internal/update"
)

func newPreserveCaptureCommand(a *app) *cobra.Command {
	var s preserved
	var out string
	c := &cobra.Command{
		Use:   "capture --out FILE",
		Short: "Write the configuration to one archive",
		Long: `capture writes what a restore may need of the system to one archive: a tar file
with owners, modes, access control lists and hashes. It holds password hashes
and private keys: keep it as you keep those.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.preserveCapture(c.Context(), &s, out) },
	}
	s.rootFlag(c)
	c.Flags().StringVar(&out, "out", "", "archive `FILE` to write, or - for standard output (required)")
	if err := c.MarkFlagRequired("out"); err != nil {
		panic(err)
	}
	return c
}

func (a *app) preserveCapture(ctx context.Context, s *preserved, out string) error {
	old, done, err := s.old()
	if err != nil {
		return err
	}
	defer a.closing(done)
	policy, err := preserve.LoadPolicy(old, old)
	if err != nil {
		return err
	}
	if out == "-" {
		if a.json {
			return usagef("--json and --out - both want standard output")
		}
		return preserve.Capture(ctx, old, policy, a.stdout)
	}
	f, err := atomicfile.Create(out, 0o600)
	if err != nil {
		return err
	}
	defer f.Abort()
	size := &counter{}
	if err := preserve.Capture(ctx, old, policy, io.MultiWriter(f, size)); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	a.ui.Result(result{Type: "result", BytesWritten: size.n, Preserve: update.PreserveNone}, func() { a.ui.Printf("%s: %s\n", out, formatSize(size.n)) })
	return nil
}

// counter counts bytes.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

func newPreserveRestoreCommand(a *app) *cobra.Command {
	var s preserved
	c := &cobra.Command{
		Use:   "restore --to DIR",
		Short: "Write the configuration into a mounted system",
		Long: `restore carries the configuration of the running system, of --root or of the
archive --from, into the system that is mounted at --to. Updates and rollback
--carry-config do so by themselves, in the right order; this verb is for images
and for repairs. When it is interrupted, the same command finishes the job.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.preserveRestore(c.Context(), &s) },
	}
	s.rootFlag(c)
	s.fromFlag(c)
	s.toFlag(c)
	if err := c.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return c
}

func (a *app) preserveRestore(ctx context.Context, s *preserved) error {
	if same, err := sameDir(s.root, s.to); err != nil {
		return err
	} else if same && s.from == "" {
		return usagef("--to %s is the old system itself", s.to)
	}
	root, err := os.OpenRoot(s.to)
	if err != nil {
		return err
	}
	defer root.Close()
	old, done, err := s.old()
	if err != nil {
		return err
	}
	defer a.closing(done)
	plan, err := preserve.NewPlan(ctx, old, preserve.DirTree(root), nil)
	if err != nil {
		return err
	}
	if err := plan.Apply(ctx, root); err != nil {
		return err
	}
	for _, n := range plan.Notes {
		if n.Kind == preserve.Warning {
			a.ui.Warn("%s: %s", printable(n.Subject), printable(n.Detail))
		}
	}
	a.ui.Result(result{Type: "result", BytesWritten: plan.Size(), Preserve: update.PreserveDone}, func() {
		a.ui.Printf("%d files and directories, %s\n", len(plan.Ops), formatSize(plan.Size()))
		if plan.KernelArgs != "" {
			a.ui.Printf("kernel arguments that the new system needs: %s\n", plan.KernelArgs)
		}
	})
	return nil
}

func sameDir(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

// newPreserveDefaultsCommand is for those who build images, not for devices.
func newPreserveDefaultsCommand(a *app) *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:    "defaults --root DIR [PATTERN…]",
		Short:  "Print the list of an image's defaults, for its /usr/share/abupdate/defaults.json",
		Hidden: true,
		RunE: func(_ *cobra.Command, patterns []string) error {
			if len(patterns) == 0 {
				patterns = []string{"/etc/**"}
			}
			r, err := os.OpenRoot(root)
			if err != nil {
				return err
			}
			defer r.Close()
			list, err := preserve.Defaults(preserve.DirTree(r), patterns)
			if err != nil {
				return err
			}
			a.ui.Printf("%s", list)
			return nil
		},
	}
	c.Flags().StringVar(&root, "root", "", "`DIR` of the finished image (required)")
	if err := c.MarkFlagRequired("root"); err != nil {
		panic(err)
	}
	return c
}
