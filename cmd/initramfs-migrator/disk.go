package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
)

// diskTimeout is how long a disk may take to show up: storage controllers
// with many ports need half a minute.
const diskTimeout = 2 * time.Minute

// found is the disk that this boot came from.
type found struct {
	file  *blockdev.File
	store *bootctl.Store
}

// findDisk waits for the disk that has the state file where the kernel command
// line says. Two of them are a disk and its copy, and nobody can tell which is
// which: then nothing is done.
func findDisk(log *migrate.Log) (*found, error) {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	boot, err := bootctl.ParseCmdline(string(cmdline))
	if err != nil {
		return nil, err
	}
	log.Printf("waiting for the disk")
	seen := map[string]error{}
	for end := time.Now().Add(diskTimeout); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		disks, err := look(boot, seen)
		switch {
		case err != nil:
			return nil, err
		case len(disks) == 1:
			log.Printf("found it: %s, %d MiB", disks[0].file.Path(), disks[0].file.Size()>>20)
			return disks[0], nil
		case len(disks) > 1:
			return nil, fmt.Errorf("%s and %s have the same state file: one is a copy of the other; detach it", disks[0].file.Path(), disks[1].file.Path())
		}
	}
	var reasons []error
	for name, err := range seen {
		reasons = append(reasons, fmt.Errorf("%s: %w", name, err))
	}
	return nil, fmt.Errorf("no disk with the state file at sector %d has shown up: %w", boot.StateLBA, errors.Join(reasons...))
}

// look opens each disk once more. All but those that are returned are closed.
func look(boot bootctl.Cmdline, seen map[string]error) ([]*found, error) {
	names, err := filepath.Glob("/sys/block/*")
	if err != nil {
		return nil, err
	}
	var disks []*found
	for _, path := range names {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") {
			continue
		}
		f, err := openDisk("/dev/"+strings.ReplaceAll(name, "!", "/"), boot)
		if err != nil {
			seen[name] = err
			continue
		}
		disks = append(disks, f)
	}
	return disks, nil
}

func openDisk(node string, boot bootctl.Cmdline) (*found, error) {
	file, err := blockdev.Open(node, blockdev.Options{Write: true})
	if err != nil {
		return nil, err
	}
	store, err := bootctl.Open(file, boot.StateLBA*blockdev.SectorSize)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &found{file, store}, nil
}
