package migrate

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// Log is what the migrator says: each line goes to the console at once, and
// the end of it into the journal, for migrate status.
type Log struct {
	// Console gets each line; what it does not take is lost.
	Console io.Writer

	mu    sync.Mutex
	start time.Time
	last  time.Time // of the last line or sign of progress
	shown int64     // percent of the step that is under way
	text  []byte
}

// NewLog begins a log.
func NewLog(console io.Writer) *Log {
	now := time.Now()
	return &Log{Console: console, start: now, last: now}
}

// Printf adds a line, with the seconds since the log began: a machine without
// a clock has no better time.
func (l *Log) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.shown = time.Now(), -1
	line := fmt.Appendf(nil, "abupdate migrator: [%5.1f] %s\n", l.last.Sub(l.start).Seconds(), fmt.Sprintf(format, args...))
	_, _ = l.Console.Write(line)
	l.text = append(l.text, line[len("abupdate migrator: "):]...)
	if over := len(l.text) - maxLog; over > 0 {
		_, rest, _ := bytes.Cut(l.text[over:], []byte("\n"))
		l.text = bytes.Clone(rest)
	}
}

// Progress says how far a step has come. It shows on the console in tenths,
// and counts as a sign of life always.
func (l *Log) Progress(what string, done, total int64) {
	if total <= 0 {
		return
	}
	percent := done * 100 / total
	l.mu.Lock()
	l.last = time.Now()
	show := percent/10 > l.shown/10
	if show {
		l.shown = percent
	}
	l.mu.Unlock()
	if show {
		_, _ = fmt.Fprintf(l.Console, "abupdate migrator: %s: %d %%\n", what, percent)
	}
}

// Idle is how long nothing has happened.
func (l *Log) Idle() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.last)
}

// String is the end of the log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
