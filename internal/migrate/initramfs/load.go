package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Load loads the modules of the initramfs in their order, and tells report
// about each that the kernel does not take: what matters is only whether the
// disk shows up.
func Load(report func(module string, err error)) error {
	b, err := os.ReadFile("/" + orderFile)
	if err != nil {
		return fmt.Errorf("reading the list of modules: %w", err)
	}
	for _, name := range strings.Fields(string(b)) {
		if err := load(filepath.Join("/"+modulesDir, name+".ko")); err != nil {
			report(name, err)
		}
	}
	return nil
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0) // Linux 3.8
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENODEV):
		return nil // not for this processor, or for a device that has gone
	}
	return err
}
