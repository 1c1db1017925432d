package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/abupdate/abupdate/internal/update"
)

// ui is the one way to the user: results on stdout, progress, warnings and
// hints on stderr; with --json, JSON lines on stdout.
type ui struct {
	stdout, stderr io.Writer
	json, quiet    bool

	bars  *mpb.Progress
	bar   *mpb.Bar
	label string
	since time.Time // when the plain or JSON progress was last printed

	outcome result // what a failed command had done so far
}

// progressEvery is the pace of progress lines where there is no terminal.
const progressEvery = 2 * time.Second

func newUI(stdout, stderr io.Writer) *ui { return &ui{stdout: stdout, stderr: stderr} }

func (u *ui) configure(json, quiet bool) { u.json, u.quiet = json, quiet }

// Result prints what was asked for: v as one JSON line, or by text.
func (u *ui) Result(v any, text func()) {
	u.endBar()
	if !u.json {
		text()
		return
	}
	u.line(v)
}

func (u *ui) line(v any) {
	if err := json.NewEncoder(u.stdout).Encode(v); err != nil {
		fmt.Fprintf(u.stderr, "abupdate: writing the result: %v\n", err)
	}
}

// Printf prints a part of the result.
func (u *ui) Printf(format string, args ...any) { fmt.Fprintf(u.stdout, format, args...) }

// Say tells what is going on. It is no result: --quiet and --json silence it.
func (u *ui) Say(format string, args ...any) {
	if u.quiet || u.json {
		return
	}
	u.endBar()
	fmt.Fprintf(u.stderr, format+"\n", args...)
}

// Warn tells what the user should know although the command goes on.
func (u *ui) Warn(format string, args ...any) {
	u.endBar()
	fmt.Fprintf(u.stderr, "abupdate: warning: "+format+"\n", args...)
}

// Progress shows how far the phase named label has come, in bytes; a total
// of 0 or less means that it is not known.
func (u *ui) Progress(label string, done, total int64) {
	finished := total > 0 && done >= total
	switch {
	case u.json:
		if u.due(label, finished) {
			u.line(map[string]any{"type": "progress", "phase": label, "done": done, "total": total})
		}
	case u.quiet:
	case u.terminal():
		u.drawBar(label, done, total)
	case u.due(label, finished):
		if total > 0 {
			fmt.Fprintf(u.stderr, "%s: %s of %s (%d %%)\n", label, formatSize(done), formatSize(total), done*100/total)
		} else {
			fmt.Fprintf(u.stderr, "%s: %s\n", label, formatSize(done))
		}
	}
}

// due paces progress lines: the first and the last of a phase, and one every
// progressEvery in between.
func (u *ui) due(label string, finished bool) bool {
	if label == u.label && !finished && time.Since(u.since) < progressEvery {
		return false
	}
	u.label, u.since = label, time.Now()
	return true
}

func (u *ui) terminal() bool {
	f, ok := u.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (u *ui) drawBar(label string, done, total int64) {
	if u.bar == nil || label != u.label {
		u.endBar()
		u.label = label
		u.bars = mpb.New(mpb.WithOutput(u.stderr), mpb.WithWidth(48))
		u.bar = u.bars.New(total, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name(label+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.EwmaSpeed(decor.SizeB1024(0), "% .1f", 30), decor.Name(" ETA "), decor.EwmaETA(decor.ET_STYLE_GO, 30)))
		u.since = time.Now()
	}
	u.bar.EwmaSetCurrent(done, time.Since(u.since))
	u.since = time.Now()
	if total > 0 && done >= total {
		u.endBar()
	}
}

// endBar leaves the bar where it is, so that text may follow it.
func (u *ui) endBar() {
	if u.bars == nil {
		return
	}
	if !u.bar.Completed() {
		u.bar.Abort(false)
	}
	u.bars.Wait()
	u.bars, u.bar, u.label = nil, nil, ""
}

func (u *ui) finish() { u.endBar() }

// fail prints an error and what to do next, and returns its exit code.
func (u *ui) fail(err error) int {
	code, next := exitCode(err), hint(err)
	if u.json {
		r := u.outcome
		r.Type, r.Code = "result", code
		r.Error = &resultError{Code: code, Message: err.Error(), Hint: next}
		u.line(r)
		return code
	}
	fmt.Fprintf(u.stderr, "abupdate: %v\n", err)
	if next != "" {
		fmt.Fprintf(u.stderr, "abupdate: hint: %s\n", next)
	}
	return code
}

// result is the last JSON line of a command that changes something.
type result struct {
	Type         string           `json:"type"` // always "result"
	Code         int              `json:"code"`
	Phase        string           `json:"phase,omitempty"`
	BytesWritten int64            `json:"bytesWritten"`
	BytesFetched int64            `json:"bytesFetched"`
	BytesReused  int64            `json:"bytesReused"`
	Preserve     update.Preserved `json:"preserve,omitempty"`
	Error        *resultError     `json:"error,omitempty"`
}

type resultError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// formatSize renders a byte count for people.
func formatSize(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
