//go:build qemu

package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// openssh is Debian's ssh client: an independent judge of who gets in where,
// and of which host key is shown.
type openssh struct {
	t       *testing.T
	dir     string
	hostKey string // a line of a .pub file: no other is accepted
}

// newOpenSSH makes a client whose users log in by password or by key, which
// is the file of that name in dir.
func newOpenSSH(t *testing.T, dir, hostKey string) *openssh {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Fatal("apt-get install openssh-client")
	}
	c := &openssh{t: t, dir: dir, hostKey: hostKey}
	for name, text := range map[string]string{
		"askpass":     "#!/bin/sh\necho \"$PASSWORD\"\n",
		"known_hosts": "gateway " + hostKey + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// credential is how somebody logs in: by password, or else by the key in a
// file of the client's directory.
type credential struct{ user, password, key string }

// try runs a command in the gateway at address.
func (c *openssh) try(address string, who credential, command string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	// ConnectTimeout covers the banner too: an emulated sshd takes seconds.
	args := []string{
		"-F", "/dev/null", "-p", port, "-l", who.user,
		"-o", "UserKnownHostsFile=" + filepath.Join(c.dir, "known_hosts"), "-o", "HostKeyAlias=gateway",
		"-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20", "-o", "NumberOfPasswordPrompts=1",
	}
	if who.password != "" {
		args = append(args, "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
	} else {
		args = append(args, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", filepath.Join(c.dir, who.key))
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", append(args, host, command)...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+filepath.Join(c.dir, "askpass"), "SSH_ASKPASS_REQUIRE=force", "PASSWORD="+who.password)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}
