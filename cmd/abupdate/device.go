package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/update"
)

// openUpdater opens the device that the global flags name: this machine, or
// the disk image of --disk. The caller closes it.
func (a *app) openUpdater(mode update.Mode) (*update.Updater, func(), error) {
	cfg, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	dev, err := a.openDevice(mode)
	if err != nil {
		return nil, nil, err
	}
	u, err := update.Open(dev, update.Options{
		AgentVersion: version,
		Tries:        cfg.Trial.Tries,
		Progress:     a.ui.Progress,
		Notice:       a.ui.Warn,
	})
	if err != nil {
		return nil, nil, errors.Join(err, dev.Close())
	}
	return u, func() {
		if err := dev.Close(); err != nil {
			a.ui.Warn("closing the disk: %v", err)
		}
	}, nil
}

func (a *app) openDevice(mode update.Mode) (*update.Device, error) {
	if a.disk != "" {
		return update.OpenImage(a.disk, mode)
	}
	return update.OpenLive(mode)
}

// config reads the configuration. A missing file means the defaults, unless
// it was asked for by name.
func (a *app) config() (*config.Config, error) {
	cfg, err := config.Load(a.configPath)
	if errors.Is(err, os.ErrNotExist) && a.configPath == defaultConfig {
		return config.Default(), nil
	}
	if err != nil {
		return nil, usageError{err: err, hint: "docs/config.md has every key"}
	}
	return cfg, nil
}

// live refuses verbs that make no sense on a disk image.
func (a *app) live(verb string) error {
	if a.disk != "" {
		return usageError{err: fmt.Errorf("%s works on the running machine only, not with --disk", verb)}
	}
	return nil
}
