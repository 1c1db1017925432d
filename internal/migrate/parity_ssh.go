package migrate

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listeners returns the ports that an SSH server listens on, and those that
// anything does. With a socket that systemd holds for the SSH server, only the
// usual port can be told to be one.
func (m parityMachine) listeners() (ssh, all []int, err error) {
	servers := m.socketsOf("sshd", "dropbear")
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(m.path(filepath.Join("proc/net", name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the TCP sockets: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			port, inode, ok := parseListener(strings.Fields(line))
			if !ok {
				continue
			}
			all = append(all, port)
			if servers[inode] {
				ssh = append(ssh, port)
			}
		}
	}
	if len(ssh) == 0 && slices.Contains(all, sshPort) {
		ssh = []int{sshPort}
	}
	slices.Sort(ssh)
	slices.Sort(all)
	return slices.Compact(ssh), slices.Compact(all), nil
}

const sshPort = 22

// parseListener reads a line of /proc/net/tcp or tcp6. Columns: sl, local
// address, remote address, state (0A: listening), …, inode (the tenth). A
// socket on the loopback address (X11 forwarding has one) is for nobody else.
func parseListener(f []string) (port int, inode string, ok bool) {
	if len(f) < 10 || f[3] != "0A" {
		return 0, "", false
	}
	addr, portText, found := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(portText, 16, 16)
	b, hexErr := hex.DecodeString(addr)
	if !found || err != nil || hexErr != nil {
		return 0, "", false
	}
	switch {
	case len(b) == 4 && b[3] == 127, // each word in the CPU's order
		len(b) == 16 && addr == "00000000000000000000000001000000":
		return 0, "", false
	}
	return int(n), f[9], true
}

// socketsOf returns the inodes of the sockets that programs of these names
// have open.
func (m parityMachine) socketsOf(programs ...string) map[string]bool {
	inodes := map[string]bool{}
	names, _ := filepath.Glob(m.path("proc/[0-9]*/comm")) // the pattern is right
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil || !slices.Contains(programs, strings.TrimSpace(string(b))) {
			continue
		}
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "fd", "*")) // the pattern is right
		for _, file := range files {
			link, err := os.Readlink(file)
			if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	return inodes
}
