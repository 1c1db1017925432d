// Package config reads the agent's configuration, /etc/abupdate/config.toml.
//
// Invariant: a file is taken whole or not at all. An unknown key, a value of
// the wrong kind or out of range is an error that names file and line, because
// a setting that is silently ignored is found out only when an update fails.
//
// Start with Load. docs/config.md is the reference of all keys.
package config

import (
	"time"

	"github.com/abupdate/abupdate/internal/health"
)

// Config is the whole configuration, defaults filled in.
type Config struct {
	Download Download
	Trial    Trial
	Health   Health
	Watchdog Watchdog
	Device   Device
}

// Download is how bundles are fetched.
type Download struct {
	// Directory is where apply --download-first puts the bundle.
	Directory string
	// Proxy is an address, "none", or "" for what the environment says.
	Proxy string
	// CA, Cert and Key are paths of PEM files, or "".
	CA, Cert, Key string
	// LimitRate is in bytes a second; 0 is no limit.
	LimitRate int64
	// IdleTimeout and MinRate (bytes a second) are the stall rule: so much
	// must come in each IdleTimeout of waiting.
	IdleTimeout time.Duration
	MinRate     int64
	// Retries is how many failures in a row are followed by another attempt.
	Retries int
}

// Trial is how a system on trial is treated.
type Trial struct {
	// Tries is how often GRUB starts it before it takes the other slot.
	Tries int
	// Deadline is how long a boot has to become healthy.
	Deadline time.Duration
}

// Health is what makes a system healthy.
type Health struct {
	// Required and Wanted are checks in the words of health.ParseCheck.
	Required, Wanted []string
	// Directory holds the scripts, in required/ and wanted/.
	Directory string
	// Timeout is the limit of one check, Interval the pause between rounds.
	Timeout, Interval time.Duration
}

// Watchdog is the hardware watchdog that guards a trial.
type Watchdog struct {
	// Device is its device node; "" leaves it alone.
	Device string
	// Timeout is how long the machine may hang.
	Timeout time.Duration
}

// Device is what a device with a single system says of itself to its
// migration. An A/B device knows it from its disk.
type Device struct {
	// Compatible is the kind of the device, Product its product; "": the
	// command line or the bundle says it.
	Compatible, Product string
	// Keyring is the file with the keys that the first bundle is verified
	// with.
	Keyring string
}

// Default is the configuration of a device without a file.
func Default() *Config {
	return &Config{
		Download: Download{
			Directory:   "/var/lib/abupdate",
			IdleTimeout: 30 * time.Second,
			MinRate:     1 << 10,
			Retries:     8,
		},
		Trial: Trial{
			Tries:    3,
			Deadline: 10 * time.Minute,
		},
		Health: Health{
			Required:  health.DefaultRequired(),
			Wanted:    health.DefaultWanted(),
			Directory: "/etc/abupdate/health.d",
			Timeout:   30 * time.Second,
			Interval:  5 * time.Second,
		},
		Watchdog: Watchdog{
			Device:  "/dev/watchdog",
			Timeout: time.Minute,
		},
		Device: Device{
			Keyring: "/etc/abupdate/keyring.json",
		},
	}
}
