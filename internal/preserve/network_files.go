package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// netFile is one file of the network configuration.
type netFile struct {
	content  []byte
	mode     fs.FileMode
	uid      int
	symlink  bool // the file itself is a link; content is what it leads to
	readable bool
}

// netFiles are a system's network files by path, in memory: what is planned
// is read back from here by the new system's reader.
type netFiles map[string]netFile

// netDirs are the directories whose files are read.
var netDirs = []string{
	ifcfgDir, keyfileDir, vendorKeyfileDir, "etc/NetworkManager/conf.d", "usr/lib/NetworkManager/conf.d",
	"etc/udev/rules.d", "etc/systemd/network", "etc/network/interfaces.d", "etc/modprobe.d", "etc/dhcp",
	"var/lib/dhclient", "var/lib/NetworkManager", "etc/iproute2/rt_tables.d",
}

// netSingles are the files outside of them.
var netSingles = []string{
	"etc/sysconfig/network", "etc/sysconfig/static-routes", "etc/sysconfig/static-routes-ipv6", "etc/resolv.conf",
	"etc/NetworkManager/NetworkManager.conf", "etc/network/interfaces", "etc/iproute2/rt_tables", "usr/share/iproute2/rt_tables",
	"usr/lib/iproute2/rt_tables", "etc/dhclient.conf", "sbin/ifup-local", "usr/sbin/ifup-local", "usr/sbin/ifup-pre-local", "sbin/ifup-pre-local",
}

// Bounds of what is read: no honest system comes near.
const (
	maxNetFiles = 2000
	maxNetFile  = 1 << 20
)

// loadNetFiles reads a system's network files.
func loadNetFiles(t Tree) (netFiles, error) {
	files := netFiles{}
	names := slices.Clone(netSingles)
	for _, dir := range netDirs {
		list, err := t.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the network configuration: %w", err)
		}
		for _, e := range list {
			if relevant(dir, e.Name()) {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	if len(names) > maxNetFiles {
		return nil, refusal("/"+ifcfgDir, "", "more than %d network files", maxNetFiles)
	}
	for _, name := range names {
		if err := files.load(t, name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// relevant tells whether a file of a directory is configuration: the same
// directory holds the scripts of network-scripts, and leases by the hundred.
func relevant(dir, name string) bool {
	switch dir {
	case ifcfgDir:
		for _, prefix := range []string{"ifcfg-", "route-", "route6-", "rule-", "rule6-"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return strings.HasSuffix(name, ".route")
	case "var/lib/NetworkManager":
		return strings.HasSuffix(name, ".lease") || name == "secret_key"
	case "etc/udev/rules.d":
		return strings.HasSuffix(name, "persistent-net.rules")
	case "etc/dhcp":
		return strings.HasPrefix(name, "dhclient") && strings.HasSuffix(name, ".conf")
	}
	return true
}

// load reads one file, following links only within the directories that hold
// such files: a link from here to /etc/shadow is nobody's configuration.
func (files netFiles) load(t Tree, name string) error {
	e, err := t.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the network configuration: %w", err)
	}
	f := netFile{mode: e.Mode.Perm(), uid: e.UID}
	target := name
	switch e.Kind {
	case KindFile:
	case KindSymlink:
		f.symlink = true
		if target, err = Resolve(t, name); err != nil || !within(target) {
			files[name] = f // resolv.conf leads to /run; others are judged by their readers
			return nil
		}
		if e, err = t.Lstat(target); err != nil || e.Kind != KindFile {
			files[name] = f
			return nil
		}
		f.mode, f.uid = e.Mode.Perm(), e.UID
	case KindDir, KindOther:
		return nil
	}
	if e.Size > maxNetFile {
		return refusal(absolute(name), "", "more than %d bytes", maxNetFile)
	}
	if f.content, err = ReadFile(t, target, maxNetFile); err != nil {
		return fmt.Errorf("reading the network configuration: %w", err)
	}
	f.readable = true
	files[name] = f
	return nil
}

func within(name string) bool {
	for _, dir := range []string{"etc/sysconfig", "etc/NetworkManager", "etc/udev", "etc/systemd", "etc/network", "etc/iproute2"} {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func (files netFiles) exists(name string) bool { _, ok := files[name]; return ok }

func (files netFiles) data(name string) []byte { return files[name].content }

// glob returns the paths in dir whose names begin with prefix, sorted.
func (files netFiles) glob(dir, prefix string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Dir(name) == dir && strings.HasPrefix(path.Base(name), prefix) {
			list = append(list, name)
		}
	}
	return list
}

// has tells whether an options line of a directory's files names a module.
func (files netFiles) has(dir, module string) bool {
	for _, name := range files.glob(dir, "") {
		for line := range strings.Lines(string(files.data(name))) {
			f := strings.Fields(line)
			if len(f) > 2 && f[0] == "options" && strings.HasPrefix(f[1], module) {
				return true
			}
		}
	}
	return false
}

// unreadable returns a file that is a link to somewhere else, if there is one
// among the readers' own.
func (files netFiles) unreadable() string {
	for _, dir := range []string{ifcfgDir, keyfileDir} {
		for _, name := range files.glob(dir, "") {
			if f := files[name]; !f.readable && !backupFile(path.Base(name)) {
				return name
			}
		}
	}
	return ""
}
