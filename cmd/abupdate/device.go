package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/update"
)

// lockPatience is how long a command waits for another one to finish before it
// ends with 21. The health check of each boot holds the lock for a moment, and a
// command in that moment would fail for nothing.
const lockPatience = 5 * time.Second

// openUpdater opens the device that the global flags name: this machine, or
// the disk image of --disk. The caller closes it; doing so twice does no harm.
func (a *app) openUpdater(ctx context.Context, mode update.Mode) (*update.Updater, func(), error) {
	return a.openUpdaterWithin(ctx, mode, lockPatience)
}

func (a *app) openUpdaterWithin(ctx context.Context, mode update.Mode, patience time.Duration) (*update.Updater, func(), error) {
	cfg, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	dev, err := a.openDevice(ctx, mode, patience)
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
	return u, sync.OnceFunc(func() {
		if err := dev.Close(); err != nil {
			a.ui.Warn("closing the disk: %v", err)
		}
	}), nil
}

// openDevice opens the device, and waits if another command has it.
func (a *app) openDevice(ctx context.Context, mode update.Mode, patience time.Duration) (*update.Device, error) {
	open := func() (*update.Device, error) {
		if a.disk != "" {
			return update.OpenImage(a.disk, mode)
		}
		return update.OpenLive(mode)
	}
	const pause = 100 * time.Millisecond
	said := false
	for waited := time.Duration(0); ; waited += pause {
		d, err := open()
		if !errors.Is(err, update.ErrLocked) || waited >= patience {
			return d, err
		}
		if waited >= time.Second && !said {
			a.ui.Say("Another abupdate is at work: waiting up to %v for it to finish.", patience)
			said = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
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
