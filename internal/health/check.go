package health

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Check is one thing to look at, see ParseCheck.
type Check struct {
	name     string
	required bool
	probe    func(context.Context, host) []finding
}

// finding is what a probe says: detail when err is nil.
type finding struct {
	suffix string // added to the check's name, for a check that finds several things
	detail string
	err    error
}

// one makes a probe of a function with a single answer.
func one(f func(context.Context, host) (string, error)) func(context.Context, host) []finding {
	return func(ctx context.Context, h host) []finding {
		detail, err := f(ctx, h)
		return []finding{{detail: detail, err: err}}
	}
}

// ParseCheck reads a check in the words of the configuration:
//
//	started              systemd has finished starting the system
//	address              an interface has an address that others can reach
//	address:eth0         … this one has
//	address:192.0.2.1    … one has this address
//	default-route        there is a default route
//	dns                  a name server of resolv.conf answers
//	dns:NAME             NAME has an address
//	units                no systemd unit has failed
//	unit:NAME            this unit is active
//	tcp://HOST:PORT      something accepts connections there
//	http://…, https://…  a GET is answered with a status below 400
func ParseCheck(spec string) (Check, error) {
	if tidy(spec) != spec { // the name of a result goes to consoles and baselines
		return Check{}, fmt.Errorf("health check %q: longer than %d bytes or not plain text", spec, maxLine)
	}
	probe, err := parseProbe(spec)
	if err != nil {
		return Check{}, fmt.Errorf("health check %q: %w", spec, err)
	}
	return Check{name: spec, probe: probe}, nil
}

func parseProbe(spec string) (func(context.Context, host) []finding, error) {
	switch spec {
	case "started":
		return one(checkStarted), nil
	case "address":
		return one(checkAddress("")), nil
	case "default-route":
		return one(checkDefaultRoute), nil
	case "dns":
		return one(checkNameServers), nil
	case "units":
		return checkUnits, nil
	}
	if strings.Contains(spec, "://") {
		return parseEndpoint(spec)
	}
	kind, arg, _ := strings.Cut(spec, ":")
	if arg == "" || strings.ContainsAny(arg, " \t/") || strings.HasPrefix(arg, "-") {
		return nil, fmt.Errorf("there is no such check (docs/config.md lists them)")
	}
	switch kind {
	case "address":
		return one(checkAddress(arg)), nil
	case "dns":
		return one(checkName(arg)), nil
	case "unit":
		return one(checkUnit(arg)), nil
	}
	return nil, fmt.Errorf("there is no such check (docs/config.md lists them)")
}

func parseEndpoint(spec string) (func(context.Context, host) []finding, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("no address: %w", err)
	}
	if u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("user, password and fragment are not supported")
	}
	switch u.Scheme {
	case "tcp":
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil || host == "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("write tcp://HOST:PORT")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("bad port %q", port)
		}
		return one(checkTCP(u.Host)), nil
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("the address names no host")
		}
		return one(checkHTTP(spec)), nil
	}
	return nil, fmt.Errorf("scheme %q: use tcp, http or https", u.Scheme)
}

// maxLine bounds Result.Name and Result.Detail in bytes: each is for one line
// on a console.
const maxLine = 200

// tidy makes foreign text one short printable line.
func tidy(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) <= maxLine {
		return s
	}
	cut := maxLine - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// isControl reports what must not reach a terminal: control characters, C1
// among them, and the marks that reorder text.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
