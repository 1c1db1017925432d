// Package config reads the agent's configuration, /etc/abupdate/config.toml.
// docs/config.md is its reference.
//
// Invariant: a key that this program does not know is an error with its line,
// never ignored: a misspelt setting must not look as if it were in force.
// Start with Load.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/health"
)

// Config is the whole configuration, with defaults filled in.
type Config struct {
	Download Download `toml:"download"`
	Trial    Trial    `toml:"trial"`
	Health   Health   `toml:"health"`
	Watchdog Watchdog `toml:"watchdog"`
}

// Download is how bundles are fetched.
type Download struct {
	Proxy       string        `toml:"proxy"`        // URL; "none": no proxy whatever the environment says
	CA          string        `toml:"ca"`           // PEM file of the server's CA; empty: the system's
	Cert        string        `toml:"cert"`         // PEM file of the client certificate
	Key         string        `toml:"key"`          // PEM file of its key
	LimitRate   int64         `toml:"limit_rate"`   // bytes a second; 0: no limit
	IdleTimeout time.Duration `toml:"idle_timeout"` // how long a server may stay silent
	Retries     int           `toml:"retries"`      // attempts in a row that may fail
	Directory   string        `toml:"directory"`    // where --download-first stores the bundle
}

// Trial bounds the trial of a new system.
type Trial struct {
	Tries    int           `toml:"tries"`    // trial boots, 1 to 9
	Deadline time.Duration `toml:"deadline"` // how long one trial boot has to become healthy
}

// Health is what a healthy system is.
type Health struct {
	Required  []string      `toml:"required"`
	Wanted    []string      `toml:"wanted"`
	Directory string        `toml:"directory"`
	Timeout   time.Duration `toml:"timeout"`  // of one check
	Interval  time.Duration `toml:"interval"` // between two rounds
}

// Options are the settings for package health.
func (h Health) Options() health.Options {
	return health.Options{Required: h.Required, Wanted: h.Wanted, Directory: h.Directory, Timeout: h.Timeout}
}

// Watchdog is the device that resets a system that hangs.
type Watchdog struct {
	Device  string        `toml:"device"`
	Timeout time.Duration `toml:"timeout"`
}

// Default is the configuration of a device without a file.
func Default() *Config {
	return &Config{
		Download: Download{IdleTimeout: 30 * time.Second, Retries: 8, Directory: "/var/lib/abupdate"},
		Trial:    Trial{Tries: 3, Deadline: 10 * time.Minute},
		Health: Health{
			Required: health.DefaultRequired(), Wanted: health.DefaultWanted(),
			Directory: "/etc/abupdate/health.d", Timeout: 30 * time.Second, Interval: 5 * time.Second,
		},
		Watchdog: Watchdog{Device: "/dev/watchdog", Timeout: 3 * time.Minute},
	}
}

// maxSize bounds the file, in bytes.
const maxSize = 1 << 20

// Load reads the file at path. What it does not set has the default.
func Load(path string) (*Config, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxSize {
		return nil, fmt.Errorf("%s: %d bytes are no configuration", path, st.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads the text of a configuration file.
func Parse(text string) (*Config, error) {
	c := Default()
	meta, err := toml.Decode(text, c)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("line %d: %s", syntax.Position.Line, syntax.Message)
	}
	if err != nil {
		return nil, err
	}
	for _, key := range meta.Undecoded() {
		return nil, fmt.Errorf("line %d: unknown key %q", lineOf(text, key), key.String())
	}
	return c, c.check()
}

// lineOf finds the line of a key: the decoder does not tell it.
func lineOf(text string, key toml.Key) int {
	section := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] \t")
		}
		name, _, _ := strings.Cut(line, "=")
		full := strings.TrimPrefix(section+"."+strings.TrimSpace(name), ".")
		if full == key.String() || section == key.String() {
			return i + 1
		}
	}
	return 0
}

func (c *Config) check() error {
	switch {
	case c.Trial.Tries < 1 || c.Trial.Tries > 9:
		return fmt.Errorf("trial.tries = %d: must be 1 to 9", c.Trial.Tries)
	case c.Trial.Deadline < time.Second:
		return fmt.Errorf("trial.deadline = %v: too short", c.Trial.Deadline)
	case c.Download.LimitRate < 0 || c.Download.Retries < 0 || c.Download.IdleTimeout < 0:
		return errors.New("download: a rate, count or duration is negative")
	case c.Watchdog.Timeout < time.Second:
		return fmt.Errorf("watchdog.timeout = %v: too short", c.Watchdog.Timeout)
	case c.Health.Interval <= 0:
		return fmt.Errorf("health.interval = %v: too short", c.Health.Interval)
	}
	if _, err := health.New(c.Health.Options()); err != nil {
		return err
	}
	return nil
}
