// Package rescue makes a stuck migrator reachable: at the addresses that the
// old system had, by SSH with its host keys.
//
// Invariant: only the keys that could log in as root on the old system get in,
// and nobody gets a shell: there is none. Start with Up, then Serve.
package rescue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Answer says what to reply to a command, and with which exit code.
type Answer func(command string) (text string, code uint32)

// Limits of the server: it runs in little memory, on any network.
const (
	maxConnections   = 4
	handshakeTimeout = 30 * time.Second
	sessionTimeout   = 5 * time.Minute
)

// Config makes the server's configuration from the host keys and the
// authorized_keys file of the old system.
func Config(hostKeys [][]byte, authorized []byte) (*ssh.ServerConfig, error) {
	allowed := parseAuthorized(authorized)
	if len(allowed) == 0 {
		return nil, errors.New("no key without restrictions could log in as root")
	}
	c := &ssh.ServerConfig{
		MaxAuthTries: 6,
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() == "root" && allowed[string(key.Marshal())] {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("not authorized")
		},
	}
	n := 0
	for _, pem := range hostKeys {
		// A kind of key that this program does not know (DSA) is left out.
		if key, err := ssh.ParsePrivateKey(pem); err == nil {
			c.AddHostKey(key)
			n++
		}
	}
	if n == 0 {
		return nil, errors.New("none of the old system's host keys can be used")
	}
	return c, nil
}

// parseAuthorized reads an authorized_keys file. Keys with options are left
// out: what an option allows or forbids is not for us to guess.
func parseAuthorized(text []byte) map[string]bool {
	allowed := map[string]bool{}
	for line := range bytes.Lines(text) {
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		if err == nil && len(options) == 0 {
			allowed[string(key.Marshal())] = true
		}
	}
	return allowed
}

// Serve answers until the listener is closed.
func Serve(l net.Listener, c *ssh.ServerConfig, answer Answer) error {
	slots := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		go func() {
			defer func() { <-slots }()
			defer conn.Close()
			serveConn(conn, c, answer)
		}()
	}
}

func serveConn(conn net.Conn, c *ssh.ServerConfig, answer Answer) {
	if conn.SetDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return
	}
	sc, channels, requests, err := ssh.NewServerConn(conn, c)
	if err != nil {
		return
	}
	defer sc.Close()
	if conn.SetDeadline(time.Now().Add(sessionTimeout)) != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		session(channel, requests, answer)
	}
}

// session answers the first command, or tells who wants a shell what there is.
func session(ch ssh.Channel, requests <-chan *ssh.Request, answer Answer) {
	defer ch.Close()
	for r := range requests {
		command := ""
		switch r.Type {
		case "pty-req":
			_ = r.Reply(true, nil) // a terminal, to somebody who typed ssh alone
			continue
		case "exec":
			var payload struct{ Command string }
			if ssh.Unmarshal(r.Payload, &payload) != nil {
				_ = r.Reply(false, nil)
				continue
			}
			command = strings.TrimSpace(payload.Command)
		case "shell":
			command = "help"
		default:
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		text, code := answer(command)
		_, _ = io.WriteString(ch, strings.ReplaceAll(text, "\n", "\r\n"))
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
		return
	}
}

// Listen opens the ports that the old system's sshd had; port 22 if it had none.
func Listen(ports []int) ([]net.Listener, error) {
	if len(ports) == 0 {
		ports = []int{22}
	}
	var out []net.Listener
	var errs []error
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}
