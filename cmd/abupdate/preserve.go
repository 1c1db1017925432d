package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/preserve"
	"github.com/abupdate/abupdate/internal/update"
)

func newPreserveCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "preserve",
		Short: "Show, and carry, the configuration that survives an update",
		Long: `An update carries the device's configuration into the new system when the
machine shuts down: addresses, names, accounts, keys, and what the files in
/usr/lib/abupdate/preserve.d (vendor) and /etc/abupdate/preserve.d (site) declare.

  abupdate preserve list       what is declared
  abupdate preserve diff       what would be carried, translated, dropped
  abupdate preserve capture    the same set as one archive
  abupdate preserve restore    write a set into a mounted system

docs/preserve.md describes the policy files and what becomes of what.`,
	}
	c.AddCommand(
		newPreserveListCommand(a),
		newPreserveDiffCommand(a),
		newPreserveCaptureCommand(a),
		newPreserveRestoreCommand(a),
		newPreserveDefaultsCommand(a),
	)
	return c
}

// preserved are the two systems that a verb is about.
type preserved struct {
	root, from, to string
}

func (s *preserved) rootFlag(c *cobra.Command) {
	c.Flags().StringVar(&s.root, "root", "/", "`DIR` where the old system is mounted")
}

func (s *preserved) fromFlag(c *cobra.Command) {
	c.Flags().StringVar(&s.from, "from", "", "capture archive `FILE` in place of the old system")
}

func (s *preserved) toFlag(c *cobra.Command) {
	c.Flags().StringVar(&s.to, "to", "", "`DIR` where the new system is mounted")
}

// old opens the old system. Of the running one, only its own file system is
// the system: what is mounted there stays where it is.
func (s *preserved) old() (preserve.Tree, func() error, error) {
	if s.from != "" {
		f, err := os.Open(s.from)
		if err != nil {
			return nil, nil, err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		t, err := preserve.ReadArchive(f, st.Size())
		if err != nil {
			f.Close()
			return nil, nil, fmt.Errorf("%s: %w", s.from, err)
		}
		return t, f.Close, nil
	}
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, nil, err
	}
	if s.root != "/" {
		return preserve.DirTree(root), root.Close, nil
	}
	t, err := preserve.SlotTree(root)
	return t, root.Close, err
}

// closing ends the use of the old system, which was only read.
func (a *app) closing(done func() error) {
	if err := done(); err != nil {
		a.ui.Warn("closing the old system: %v", err)
	}
}

// declared is one line of list.
type declared struct {
	Kind    string `json:"kind"` // "handler", "path" or "drop"
	Name    string `json:"name"` // a handler's name, or a pattern
	Enabled bool   `json:"enabled"`
	Mode    string `json:"mode,omitempty"`
	Missing string `json:"missing,omitempty"`
	When    string `json:"when,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Origin  string `json:"origin,omitempty"`
}

func newPreserveListCommand(a *app) *cobra.Command {
	var s preserved
	c := &cobra.Command{
		Use:   "list",
		Short: "Print what is declared to survive: handlers and rules",
		Long: `list prints the handlers and the rules that are in force, in their order: of
rules that name the same path the last counts. With --json it prints one object
a line. The vendor's rules are those of the new system: of --to DIR, else of the
running system.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			old, done, err := s.old()
			if err != nil {
				return err
			}
			defer a.closing(done)
			next := old
			if s.to != "" {
				root, err := os.OpenRoot(s.to)
				if err != nil {
					return err
				}
				defer root.Close()
				next = preserve.DirTree(root)
			}
			policy, err := preserve.LoadPolicy(old, next)
			if err != nil {
				return err
			}
			for _, d := range declarations(policy) {
				a.ui.Result(d, func() { a.printDeclared(d) })
			}
			return nil
		},
	}
	s.rootFlag(c)
	s.fromFlag(c)
	s.toFlag(c)
	return c
}

func declarations(policy *preserve.Policy) []declared {
	var list []declared
	for _, name := range preserve.HandlerNames() {
		list = append(list, declared{Kind: "handler", Name: name, Enabled: policy.Enabled(name)})
	}
	for _, r := range policy.Rules {
		d := declared{Kind: "path", Name: "/" + r.Pattern, Enabled: true, Missing: r.Missing.String(), When: r.When.String(), Reason: r.Reason, Origin: r.Origin}
		if r.Drop {
			d.Kind, d.Missing, d.When = "drop", "", ""
		}
		if r.HasMode {
			d.Mode = fmt.Sprintf("%04o", r.Mode)
		}
		list = append(list, d)
	}
	return list
}

func (a *app) printDeclared(d declared) {
	switch {
	case d.Kind == "handler" && d.Enabled:
		a.ui.Printf("handler  %s\n", d.Name)
	case d.Kind == "handler":
		a.ui.Printf("handler  %s (off)\n", d.Name)
	default:
		a.ui.Printf("%-8s %s", d.Kind, d.Name)
		for _, w := range []string{d.Mode, d.When, d.Missing, d.Reason} {
			if w != "" && w != "always" && w != "ok" {
				a.ui.Printf("  %s", w)
			}
		}
		a.ui.Printf("  (%s)\n", d.Origin)
	}
}

// planned is what diff --json prints.
type planned struct {
	FormatVersion int             `json:"formatVersion"`
	Notes         []preserve.Note `json:"notes"`
	Files         []plannedFile   `json:"files"`
	Bytes         int64           `json:"bytes"`
	KernelArgs    string          `json:"kernelArgs"`
}

type plannedFile struct {
	Path      string `json:"path"`
	Operation string `json:"operation"` // "write", "mkdir", "symlink", "remove" or "owner"
	Mode      string `json:"mode,omitempty"`
	UID       int    `json:"uid"`
	GID       int    `json:"gid"`
	Size      int64  `json:"size"`
	Target    string `json:"target,omitempty"`
}

func describe(p *preserve.Plan) planned {
	d := planned{FormatVersion: 1, Notes: slices.Concat([]preserve.Note{}, p.Notes), Files: []plannedFile{}, Bytes: p.Size(), KernelArgs: p.KernelArgs}
	for i := range p.Ops {
		op := &p.Ops[i]
		f := plannedFile{Path: "/" + op.Path, Operation: op.Kind.String(), UID: op.UID, GID: op.GID, Size: op.Size, Target: op.Target}
		if op.Kind == preserve.OpWrite || op.Kind == preserve.OpMkdir {
			f.Mode = fmt.Sprintf("%04o", op.Mode.Perm())
		}
		d.Files = append(d.Files, f)
	}
	return d
}

func newPreserveDiffCommand(a *app) *cobra.Command {
	var s preserved
	var files bool
	c := &cobra.Command{
		Use:   "diff",
		Short: "Show what would be carried, translated and dropped; change nothing",
		Long: `diff computes what an update, or rollback --carry-config, would carry into the
slot that is not running, or into the system mounted at --to. It writes nothing.
What cannot be carried over is exit code 51, with the reason. With --json it
prints one object: notes, files, bytes, kernelArgs.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			plan, err := a.preservePlan(c.Context(), &s)
			if err != nil {
				return err
			}
			d := describe(plan)
			a.ui.Result(d, func() { a.printPlan(d, files) })
			return nil
		},
	}
	s.rootFlag(c)
	s.fromFlag(c)
	s.toFlag(c)
	c.Flags().BoolVar(&files, "files", false, "list every file, too")
	return c
}

// preservePlan plans into the mounted system, or into the idle slot.
func (a *app) preservePlan(ctx context.Context, s *preserved) (*preserve.Plan, error) {
	if s.to == "" {
		if s.from != "" || s.root != "/" {
			return nil, usageError{err: fmt.Errorf("--root and --from need --to DIR"), hint: "mount the new system and name its directory"}
		}
		if err := a.live("preserve diff"); err != nil {
			return nil, err
		}
		u, done, err := a.openUpdater(ctx, update.ReadOnly)
		if err != nil {
			return nil, err
		}
		defer done()
		return u.PlanPreserve(ctx)
	}
	root, err := os.OpenRoot(s.to)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	old, done, err := s.old()
	if err != nil {
		return nil, err
	}
	defer a.closing(done)
	return preserve.NewPlan(ctx, old, preserve.DirTree(root), nil)
}

func (a *app) printPlan(d planned, files bool) {
	for _, n := range d.Notes {
		what := n.Handler
		if what == "" {
			what = "policy"
		}
		a.ui.Printf("%-10s %-9s %s", n.Kind, what, printable(n.Subject))
		if n.Detail != "" {
			a.ui.Printf(": %s", printable(n.Detail))
		}
		a.ui.Printf("\n")
	}
	if files {
		for _, f := range d.Files {
			a.ui.Printf("%-10s %4s %5d:%-5d %s", f.Operation, f.Mode, f.UID, f.GID, printable(f.Path))
			if f.Target != "" {
				a.ui.Printf(" -> %s", printable(f.Target))
			}
			a.ui.Printf("\n")
		}
	}
	if d.KernelArgs != "" {
		a.ui.Printf("kernel arguments: %s\n", d.KernelArgs)
	}
	a.ui.Printf("%d files and directories, %s\n", len(d.Files), formatSize(d.Bytes))
}

// printable keeps foreign text from steering the terminal.
func printable(s string) string {
	if q := fmt.Sprintf("%q", s); q != `"`+s+`"` {
		return q
	}
	return s
}
