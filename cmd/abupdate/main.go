// Command abupdate updates a gateway appliance with two system slots.
//
// Each verb has a file of its own; all words to the user go through ui.go,
// and exitcode.go maps an error to its documented exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker (-X main.version=…); a plain go build says dev.
var version = "0.0.0-dev"

// defaultConfig is where a device has its configuration.
const defaultConfig = "/etc/abupdate/config.toml"

// app is what every verb shares.
type app struct {
	ui             *ui
	stdin          io.Reader
	stdout, stderr io.Writer

	disk       string // --disk: a disk image instead of this machine
	configPath string // --config
	quiet      bool
	json       bool

	started bool // the verb's own code runs: the command line was right
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without its globals: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	a.ui = newUI(stdout, stderr)
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	a.ui.finish()
	if err != nil && !a.started {
		a.ui.configure(a.json, a.quiet)
		err = usageError{err: err, hint: "see: " + c.CommandPath() + " --help"}
	}
	if err == nil {
		return codeDone
	}
	var done exitStatus
	if errors.As(err, &done) {
		return int(done)
	}
	return a.ui.fail(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "abupdate",
		Short: "Updates an appliance with two system slots, and falls back by itself",
		Long: `abupdate writes a signed bundle to the slot that is not running, boots it for a
trial, and goes back by itself when the trial fails.

Exit codes: 0 done; 1 failed, the running system is untouched; 2 usage or
config; 3 nothing to do; 4 reboot needed; 10 bundle unreadable; 11 signature or
hash; 12 incompatible; 13 downgrade; 14 does not fit; 20 download; 21 locked;
22 running slot not committed; 30 write or read-back; 40 boot state; 50 health;
51 preserve; 60 migration refused.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ui.configure(a.json, a.quiet)
		},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.disk, "disk", "", "work on the disk image `IMAGE`, without root, instead of on this machine")
	flags.StringVar(&a.configPath, "config", defaultConfig, "configuration `FILE`")
	flags.BoolVar(&a.quiet, "quiet", false, "print nothing but results and errors")
	flags.BoolVar(&a.json, "json", false, "print JSON lines on standard output")
	root.AddCommand(
		newStatusCommand(a), newApplyCommand(a), newRebootCommand(a), newHealthCommand(a),
		newCommitCommand(a), newRollbackCommand(a), newHistoryCommand(a), newDoctorCommand(a),
		newPreserveCommand(a), newMigrateCommand(a), newBundleCommand(a), newKeyringCommand(a), newImageCommand(a), newVersionCommand(a),
		newArmCommand(a),
	)
	a.watch(root)
	return root
}

// watch notes when a verb's own code starts: an error before that came from
// the command line. A group without a verb is a usage error too.
func (a *app) watch(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.watch(sub)
	}
	run := c.RunE
	if run == nil && c.HasParent() {
		run = func(c *cobra.Command, args []string) error {
			return usageError{err: fmt.Errorf("%s %s: no such verb", c.CommandPath(), strings.Join(args, " ")), hint: "see: " + c.CommandPath() + " --help"}
		}
	}
	if run == nil {
		return
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		a.started = true
		return run(c, args)
	}
}
