package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"
)

// dnsWait is how long one name server has to answer; resolv.conf(5) gives it
// the same.
const dnsWait = 5 * time.Second

// checkNameServers asks every name server of resolv.conf for the root's name
// servers. One that answers at all, be it with a refusal, is enough: the
// resolver asks the next one too.
func checkNameServers(ctx context.Context, h host) (string, error) {
	b, err := os.ReadFile(h.resolvConf)
	if err != nil {
		return "", err
	}
	servers := nameServers(string(b))
	if len(servers) == 0 {
		return "", fmt.Errorf("%s names no name server", h.resolvConf)
	}
	var failed []error
	for _, s := range servers {
		err := askNameServer(ctx, net.JoinHostPort(s, "53"))
		if err == nil {
			return s + " answers", nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", s, err))
	}
	return "", errors.Join(failed...)
}

// nameServers reads resolv.conf(5). The resolver uses the first three.
func nameServers(conf string) []string {
	var servers []string
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" && len(servers) < 3 {
			servers = append(servers, f[1])
		}
	}
	return servers
}

// askNameServer sends the shortest query there is (". NS", RFC 1035 §4.1) and
// waits for its answer.
func askNameServer(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // wakes Read up
	defer stop()

	id := uint16(rand.Uint32())
	if _, err := conn.Write(rootQuery(id)); err != nil {
		return err
	}
	for buf := make([]byte, 1500); ; {
		n, err := conn.Read(buf)
		if ctx.Err() != nil {
			return errors.New("no answer")
		}
		if err != nil {
			return err
		}
		if isReply(buf[:n], id) {
			return nil
		}
	}
}

// rootQuery is a header with one question: name ".", type NS, class IN.
func rootQuery(id uint16) []byte {
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0) // recursion desired
	q = append(q, 0, 1, 0, 0, 0, 0, 0, 0)
	return append(q, 0, 0, 2, 0, 1)
}

// isReply reports whether b answers the query id.
func isReply(b []byte, id uint16) bool {
	const headerLen, replyBit = 12, 0x80
	return len(b) >= headerLen && binary.BigEndian.Uint16(b) == id && b[2]&replyBit != 0
}

// checkName resolves a name the way the system does, /etc/hosts included.
func checkName(name string) func(context.Context, host) (string, error) {
	return func(ctx context.Context, _ host) (string, error) {
		resolver := &net.Resolver{PreferGo: true}
		addrs, err := resolver.LookupHost(ctx, name)
		if err != nil {
			return "", err
		}
		return strings.Join(addrs, " "), nil
	}
}
