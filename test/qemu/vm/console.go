package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Console is a serial line: everything that the machine said on it, as plain
// text, and a way to type.
type Console struct {
	conn net.Conn
	log  *os.File
	done chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	text    []byte
	seen    int           // text before it was consumed by Expect
	changed chan struct{} // closed and replaced with each change
	err     error         // why nothing more will come
	never   []*regexp.Regexp
}

func newConsole(conn net.Conn, logFile string) (*Console, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	c := &Console{conn: conn, log: log, done: make(chan struct{}), changed: make(chan struct{})}
	go c.read()
	return c, nil
}

// read collects the text, and logs each line with the time of its first byte.
func (c *Console) read() {
	defer close(c.done)
	defer c.log.Close()
	var (
		f        textFilter
		start    = time.Now()
		lineOpen bool
		buf      = make([]byte, 16<<10)
	)
	for {
		n, err := c.conn.Read(buf)
		text := f.filter(nil, buf[:n])
		for line := range bytes.Lines(text) {
			if !lineOpen {
				fmt.Fprintf(c.log, "[%7.2f] ", time.Since(start).Seconds())
			}
			_, _ = c.log.Write(line)
			lineOpen = line[len(line)-1] != '\n'
		}
		c.mu.Lock()
		c.text = append(c.text, text...)
		c.err = err
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Never makes each later Expect fail as soon as the pattern shows up. A boot
// loader's prompt is such a pattern.
func (c *Console) Never(pattern string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.never = append(c.never, regexp.MustCompile(pattern))
}

// Expect waits for a pattern in the text that earlier calls have not consumed,
// consumes everything up to its end, and returns its groups.
func (c *Console) Expect(ctx context.Context, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	for {
		groups, changed, err := c.match(re)
		if groups != nil || err != nil {
			return groups, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %q: %w; the last words were:\n%s", pattern, ctx.Err(), c.tail())
		}
	}
}

func (c *Console) match(re *regexp.Regexp) ([]string, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.text[c.seen:]
	at := re.FindSubmatchIndex(rest)
	upTo := rest
	if at != nil {
		upTo = rest[:at[1]]
	}
	for _, never := range c.never {
		if bad := never.Find(upTo); bad != nil {
			return nil, nil, fmt.Errorf("waiting for %q, but the machine said %q:\n%s", re, bad, lastLines(c.text, 20))
		}
	}
	if at != nil {
		var groups []string
		for i := 0; i < len(at); i += 2 {
			group := ""
			if at[i] >= 0 {
				group = string(rest[at[i]:at[i+1]])
			}
			groups = append(groups, group)
		}
		c.seen += at[1]
		return groups, nil, nil
	}
	if c.err != nil {
		return nil, nil, fmt.Errorf("waiting for %q: the machine is off (%w); its last words were:\n%s", re, c.err, lastLines(c.text, 20))
	}
	return nil, c.changed, nil
}

// Send types text.
func (c *Console) Send(text string) error {
	_, err := c.conn.Write([]byte(text))
	return err
}

// Text returns everything that was said so far.
func (c *Console) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

func (c *Console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lastLines(c.text, 20)
}

func (c *Console) close() {
	c.conn.Close()
	<-c.done
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Control runs commands in a shell on a serial line that carries nothing else.
type Control struct {
	line *Console
	runs int
}

// Ready waits until the guest's control shell has started. It is to be called
// once after each boot.
func (c *Control) Ready(ctx context.Context) error {
	_, err := c.line.Expect(ctx, `control: ready\n`)
	return err
}

// Run runs one line of shell in the guest and returns what it wrote to stdout
// and stderr, and its exit code.
func (c *Control) Run(ctx context.Context, command string) (string, int, error) {
	if strings.ContainsAny(command, "\n\r") {
		return "", 0, errors.New("internal error: a command must be one line")
	}
	c.runs++
	line := fmt.Sprintf("{ %s ; } </dev/null 2>&1; echo \"<$?:end-%d>\"\n", command, c.runs)
	if err := c.line.Send(line); err != nil {
		return "", 0, fmt.Errorf("running %q in the guest: %w", command, err)
	}
	groups, err := c.line.Expect(ctx, fmt.Sprintf(`(?s)^(.*)<(\d+):end-%d>\n`, c.runs))
	if err != nil {
		return "", 0, fmt.Errorf("running %q in the guest: %w", command, err)
	}
	var code int
	if _, err := fmt.Sscan(groups[2], &code); err != nil {
		return "", 0, err
	}
	return groups[1], code, nil
}
