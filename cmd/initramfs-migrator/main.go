// The migrator is PID 1 of the initramfs that migrate prepare packs: it makes
// an A/B device of one with a single system (docs/migration.md).
//
// Invariant: it never exits, never asks, and ends in a reboot whatever happens;
// what boots next is settled by the boot state before.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/migrate/initramfs"
)

const (
	// memoryLimit keeps the Go heap small enough for a machine of 128 MiB.
	memoryLimit = 48 << 20
	// deadline is how long nothing may happen before the machine is reset: a
	// disk that hangs must not hang the device for ever.
	deadline = 30 * time.Minute
	// pause keeps a machine that fails at once from rebooting every second,
	// and leaves time to read why.
	pause = 10 * time.Second
	// retry is how often a system that has failed again and again is tried
	// once more; shorter than deadline.
	retry = 5 * time.Minute
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "initramfs-migrator is started by the boot loader during a migration, and by nobody else: see abupdate migrate --help")
		os.Exit(2)
	}
	debug.SetMemoryLimit(memoryLimit)
	mountErr := mountKernelFiles()
	log := migrate.NewLog(openConsoles())
	defer func() {
		if p := recover(); p != nil {
			log.Printf("internal error: %v\n%s", p, debug.Stack())
			time.Sleep(pause)
		}
		reboot(log)
	}()
	if mountErr != nil {
		log.Printf("%v", mountErr)
	}
	run(log)
}

// run carries the migration out, as far as that is possible.
func run(log *migrate.Log) {
	log.Printf("version %s", version)
	if err := initramfs.Load(func(module string, err error) { log.Printf("module %s: %v", module, err) }); err != nil {
		log.Printf("%v", err)
	}
	go guard(log)
	m, err := open(log)
	if err != nil {
		log.Printf("this turn has failed: %v", err)
		time.Sleep(pause)
		return
	}
	help := &help{log: log}
	for {
		outcome, err := m.Run(context.Background())
		log.Printf("peak memory %s", peakMemory())
		switch outcome {
		case migrate.ToTrial:
			log.Printf("rebooting into the new system")
			return
		case migrate.ToOld:
			log.Printf("the old system comes back: %v", err)
		case migrate.Again:
			log.Printf("this turn has failed: %v", err)
		case migrate.Stuck:
			log.Printf("%v", err)
			help.wait(m)
			m.Insist = true
			continue
		}
		time.Sleep(pause)
		return
	}
}

// open finds the disk and the migration on it.
func open(log *migrate.Log) (*migrate.Migrator, error) {
	disk, err := findDisk(log)
	if err != nil {
		return nil, err
	}
	return &migrate.Migrator{Disk: disk.file, Store: disk.store, Kernel: migrate.Linux{Disk: disk.file.Path()}, Dir: mountDir, Log: log}, nil
}
