package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/health"
)

// schema is every key there is, and what it takes.
var schema = map[string]map[string]func(*Config) value{
	"download": {
		"directory":    func(c *Config) value { return path(&c.Download.Directory) },
		"proxy":        func(c *Config) value { return proxy(&c.Download.Proxy) },
		"ca":           func(c *Config) value { return optionalPath(&c.Download.CA) },
		"cert":         func(c *Config) value { return optionalPath(&c.Download.Cert) },
		"key":          func(c *Config) value { return optionalPath(&c.Download.Key) },
		"limit_rate":   func(c *Config) value { return size(&c.Download.LimitRate, 0) },
		"idle_timeout": func(c *Config) value { return duration(&c.Download.IdleTimeout, time.Second, time.Hour) },
		"min_rate":     func(c *Config) value { return size(&c.Download.MinRate, 1) },
		"retries":      func(c *Config) value { return count(&c.Download.Retries, 1, 1000) },
	},
	"trial": {
		// One digit: so much the boot state has room for.
		"tries":    func(c *Config) value { return count(&c.Trial.Tries, 1, 9) },
		"deadline": func(c *Config) value { return duration(&c.Trial.Deadline, 10*time.Second, 24*time.Hour) },
	},
	"health": {
		"required":  func(c *Config) value { return checks(&c.Health.Required) },
		"wanted":    func(c *Config) value { return checks(&c.Health.Wanted) },
		"directory": func(c *Config) value { return optionalPath(&c.Health.Directory) },
		"timeout":   func(c *Config) value { return duration(&c.Health.Timeout, time.Second, time.Hour) },
		"interval":  func(c *Config) value { return duration(&c.Health.Interval, time.Second, time.Hour) },
	},
	"watchdog": {
		"device":  func(c *Config) value { return optionalPath(&c.Watchdog.Device) },
		"timeout": func(c *Config) value { return duration(&c.Watchdog.Timeout, time.Second, time.Hour) },
	},
	"device": {
		"compatible": func(c *Config) value { return name(&c.Device.Compatible) },
		"product":    func(c *Config) value { return name(&c.Device.Product) },
		"keyring":    func(c *Config) value { return path(&c.Device.Keyring) },
	},
}

// check looks at what concerns several keys.
func (c *Config) check() error {
	if (c.Download.Cert == "") != (c.Download.Key == "") {
		return errors.New("[download] cert and key must be given together")
	}
	if c.Health.Interval >= c.Trial.Deadline {
		return fmt.Errorf("[health] interval (%v) must be shorter than [trial] deadline (%v)", c.Health.Interval, c.Trial.Deadline)
	}
	if _, err := health.New(health.Options{Required: c.Health.Required, Wanted: c.Health.Wanted}); err != nil {
		return fmt.Errorf("[health] %w", err)
	}
	return nil
}

func text(take func(string) error) value {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return errors.New("must be text in quotes")
		}
		return take(s)
	}
}

func path(dst *string) value {
	return text(func(s string) error {
		if !filepath.IsAbs(s) || filepath.Clean(s) != s {
			return fmt.Errorf("%q must be a path that begins with / and has no . or .. in it", s)
		}
		*dst = s
		return nil
	})
}

func optionalPath(dst *string) value {
	return text(func(s string) error {
		if s == "" {
			*dst = ""
			return nil
		}
		return path(dst)(s)
	})
}

// name takes a word that manifests use.
func name(dst *string) value {
	return text(func(s string) error {
		if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%.80q must be one word of at most 64 characters", s)
		}
		*dst = s
		return nil
	})
}

func proxy(dst *string) value {
	return text(func(s string) error {
		if s != "" && s != "none" {
			u, err := url.Parse(s) // not shown: it may hold a password
			if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
				return errors.New(`must be "none" or an address such as "http://proxy.example.com:3128"`)
			}
		}
		*dst = s
		return nil
	})
}

func duration(dst *time.Duration, least, most time.Duration) value {
	return text(func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is no duration: write 90s, 10m or 1h30m", s)
		}
		if d < least || d > most {
			return fmt.Errorf("%q must be between %v and %v", s, least, most)
		}
		*dst = d
		return nil
	})
}

func count(dst *int, least, most int64) value {
	return func(v any) error {
		n, ok := v.(int64)
		if !ok {
			return errors.New("must be a whole number, without quotes")
		}
		if n < least || n > most {
			return fmt.Errorf("%d must be between %d and %d", n, least, most)
		}
		*dst = int(n)
		return nil
	}
}

func checks(dst *[]string) value {
	return func(v any) error {
		items, ok := v.([]any)
		if !ok {
			return errors.New(`must be a list: ["address", "default-route"]`)
		}
		list := []string{}
		for _, item := range items {
			s, ok := item.(string)
			if !ok {
				return errors.New("must be a list of texts in quotes")
			}
			if _, err := health.ParseCheck(s); err != nil {
				return err
			}
			list = append(list, s)
		}
		*dst = list
		return nil
	}
}
