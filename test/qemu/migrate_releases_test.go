//go:build qemu

package qemu

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"

	appliance "github.com/abupdate/abupdate/images/gateway"
)

// The systems that devices are migrated to, by version.
const (
	releaseGood     = "2.0.0"
	releaseNext     = "2.1.0"
	releasePanics   = "2.0.1"
	releaseHangs    = "2.0.2"
	releaseNoNet    = "2.0.3"
	releaseNoParity = "2.0.4"
	releaseSick     = "2.0.5"
	releaseLarge    = "2.0.6"
)

// breaking is a release with a unit of its own that breaks it.
func breaking(script string, more map[string][]byte) appliance.Options {
	const wants = "/etc/systemd/system/sysinit.target.d/breaks.conf"
	o := appliance.Options{Healthy: true, Files: map[string][]byte{
		wants: []byte("[Unit]\nWants=breaks.service\n"),
		"/etc/systemd/system/breaks.service": []byte("[Unit]\nDescription=What is wrong with this release\nDefaultDependencies=no\nAfter=systemd-modules-load.service\n\n" +
			"[Service]\nExecStart=/bin/sh -c '" + script + "'\n"),
	}}
	for name, data := range more {
		o.Files[name] = data
	}
	return o
}

var migrateReleases = map[string]appliance.Options{
	releaseGood:   {Healthy: true},
	releaseNext:   {Healthy: true},
	releasePanics: breaking("echo breaks: panic >/dev/console; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger", nil),
	// A task of the highest priority that never sleeps: on the one CPU nothing
	// else runs any more, systemd's feeding of the watchdog neither.
	releaseHangs: breaking("sleep 5; echo breaks: hang >/dev/console; echo -1 >/proc/sys/kernel/sched_rt_runtime_us; exec chrt -f 99 sh -c \"while :; do :; done\"", map[string][]byte{
		"/etc/modules-load.d/softdog.conf":         []byte("softdog\n"),
		"/etc/systemd/system.conf.d/90-quick.conf": []byte("[Manager]\nRuntimeWatchdogSec=15s\n"),
	}),
	releaseNoNet: breaking("while :; do ip link set eth0 down; sleep 1; done", nil),
	// Everything is well but that nobody can log in any more.
	releaseNoParity: {Healthy: true, Files: map[string][]byte{
		"/etc/systemd/system/ssh.service": []byte("[Service]\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"),
	}},
	releaseSick:  {Healthy: false},
	releaseLarge: large(),
}

// ballast makes a bundle that is larger than the machine's memory.
const ballast = 640 << 20

// large is a good release with a bundle that does not fit into memory. It
// panics as long as the machine's second disk says so.
func large() appliance.Options {
	o := breaking(`grep -aq ^panics /dev/vdb || exit 0; echo breaks: panic >/dev/console; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger`, nil)
	o.Size = appliance.DefaultSize + ballast
	o.Alter = func(tree string) error {
		f, err := os.Create(filepath.Join(tree, "usr/share/ballast.bin"))
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, rand.Reader, ballast)
		return errors.Join(err, f.Close())
	}
	return o
}

// badReleases are those that fail, and what the old system must know of it.
var badReleases = map[string]string{
	releasePanics:   "failed its trial",
	releaseHangs:    "failed its trial",
	releaseNoNet:    "address",
	releaseNoParity: "ssh",
	releaseSick:     "required/50-gateway: exit status 1",
}
