package vm

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFilterKeepsWordsAndDropsTerminalCodes(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"colours", "\x1b[0;30;47mWelcome to GRUB!\x1b[0m\r\n", "Welcome to GRUB!\n"},
		{"cursor to another line", "one\x1b[2;1Htwo", "one\ntwo"},
		{"clear on an empty line", "\x1b[2J\x1b[01;01Hone", "one"},
		{"reset and private modes", "\x1bc\x1b[?7l\x1b[=3hone", "one"},
		{"title", "\x1b]0;title\aone", "one"},
		{"bell, backspace, nul", "o\a\bn\x00e", "one"},
		{"tab", "a\tb", "a\tb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var whole, bytewise textFilter
			if got := string(whole.filter(nil, []byte(tc.in))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			var got []byte
			for i := range tc.in {
				got = bytewise.filter(got, []byte(tc.in[i:i+1]))
			}
			if string(got) != tc.want {
				t.Errorf("byte by byte: got %q, want %q", got, tc.want)
			}
		})
	}
}

// line returns a console and the machine's end of it.
func line(t *testing.T) (*Console, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	c, err := newConsole(ours, filepath.Join(t.TempDir(), "serial.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close(); c.close() })
	return c, theirs
}

func TestExpectConsumesUpToTheMatch(t *testing.T) {
	c, machine := line(t)
	go func() {
		for _, part := range []string{"slot=", "a\nslot=b\n"} {
			_, _ = machine.Write([]byte(part))
		}
	}()
	for _, want := range []string{"a", "b"} {
		got, err := c.Expect(t.Context(), `slot=(\w)\n`)
		if err != nil || got[1] != want {
			t.Fatalf("got %q, %v; want %s", got, err, want)
		}
	}
	if c.Text() != "slot=a\nslot=b\n" {
		t.Errorf("the whole text is %q", c.Text())
	}
}

func TestExpectFailsOnAForbiddenPrompt(t *testing.T) {
	c, machine := line(t)
	c.Never(`grub( rescue)?> `)
	go func() { _, _ = machine.Write([]byte("error: no such disk.\ngrub rescue> ")) }()
	_, err := c.Expect(t.Context(), "never said")
	if err == nil || !strings.Contains(err.Error(), "grub rescue> ") {
		t.Errorf("got %v", err)
	}
}

func TestExpectEndsWithTheMachineOrTheContext(t *testing.T) {
	c, machine := line(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Expect(ctx, "never said"); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("after the deadline: %v", err)
	}
	machine.Close()
	if _, err := c.Expect(t.Context(), "never said"); err == nil || !strings.Contains(err.Error(), "the machine is off") {
		t.Errorf("after power off: %v", err)
	}
}

func TestControlReturnsOutputAndCode(t *testing.T) {
	c, machine := line(t)
	go func() {
		buf := make([]byte, 512)
		n, _ := machine.Read(buf)
		if !strings.Contains(string(buf[:n]), "{ echo hi ; }") {
			machine.Close()
			return
		}
		_, _ = machine.Write([]byte("hi\n<3:end-1>\n"))
	}()
	out, code, err := (&Control{line: c}).Run(t.Context(), "echo hi")
	if err != nil || out != "hi\n" || code != 3 {
		t.Errorf("got %q, %d, %v", out, code, err)
	}
}

func TestCopyDiskKeepsContentAndHoles(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	for _, off := range []int64{0, 8 << 20, size - 4096} {
		if _, err := f.WriteAt([]byte(strings.Repeat("x", 4096)), off); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if err := CopyDisk(to, from); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(from)
	got, err := os.ReadFile(to)
	if err != nil || string(got) != string(want) {
		t.Errorf("the copy differs (%v)", err)
	}
	if err := CopyDisk(to, from); err == nil {
		t.Error("an existing file was overwritten")
	}
}
