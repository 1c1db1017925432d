package preserve

import (
	"path"
	"strings"
)

// netSystem is what brings the network up in a system. It is told by what is
// installed and enabled, not by a version number; only whether a new system
// should be given ifcfg files although it could read them is.
type netSystem struct {
	nm       bool // NetworkManager, enabled
	ifcfgRH  bool // … reads ifcfg files
	scripts  bool // network-scripts
	networkd bool // systemd-networkd, enabled
	ifupdown bool // Debian's
	// bare: there are ifcfg files, and none of the above to read them. Somebody
	// does: a script of the appliance's own.
	bare bool
	// ruleDispatcher: NetworkManager-dispatcher-routing-rules applies rule files.
	ruleDispatcher bool

	release Release
	conf    nmConf
}

// Markers by which a system is known. Archives hold them for the old system
// (see Sources).
const (
	nmUnit       = "usr/lib/systemd/system/NetworkManager.service"
	networkdUnit = "usr/lib/systemd/system/systemd-networkd.service"
	ifupEth      = ifcfgDir + "/ifup-eth"
	wantsDir     = "etc/systemd/system/multi-user.target.wants/"
)

var (
	ifupdownMarks   = []string{"usr/share/doc/ifupdown/copyright", "lib/systemd/system/networking.service", "usr/lib/systemd/system/networking.service"}
	dispatcherMarks = []string{"etc/NetworkManager/dispatcher.d/10-ifcfg-rh-routes.sh", "usr/lib/NetworkManager/dispatcher.d/10-ifcfg-rh-routes.sh"}
	pluginDirs      = []string{"usr/lib64/NetworkManager", "usr/lib/NetworkManager", "usr/lib/x86_64-linux-gnu/NetworkManager"}
)

const ifcfgPlugin = "libnm-settings-plugin-ifcfg-rh.so"

// detectNet tells what brings the network up.
func detectNet(t Tree, files netFiles) (netSystem, error) {
	s := netSystem{release: ReadRelease(t)}
	var err error
	if s.conf, err = readNMConf(files); err != nil {
		return s, err
	}
	s.scripts = Exists(t, ifupEth)
	s.nm = Exists(t, nmUnit) && enabled(t, "NetworkManager.service", s.scripts)
	s.ifcfgRH = s.nm && findPlugin(t) != "" && s.conf.plugin("ifcfg-rh")
	s.networkd = Exists(t, networkdUnit) && enabled(t, "systemd-networkd.service", true)
	for _, m := range ifupdownMarks {
		s.ifupdown = s.ifupdown || Exists(t, m)
	}
	s.ifupdown = s.ifupdown && Exists(t, "etc/network/interfaces") && !s.scripts
	for _, m := range dispatcherMarks {
		s.ruleDispatcher = s.ruleDispatcher || Exists(t, m)
	}
	others := s.nm || s.scripts
	s.bare = !others && len(ifcfgFiles(files)) > 0
	return s, nil
}

// enabled tells whether a unit starts at boot. When something else could do
// its work, it must be linked; when it is the only one, presence is enough,
// for an image's preset may enable it at its first boot.
func enabled(t Tree, unit string, mustBeLinked bool) bool {
	if target, err := t.Readlink("etc/systemd/system/" + unit); err == nil && target == "/dev/null" {
		return false
	}
	if !mustBeLinked {
		return true
	}
	for _, dir := range []string{wantsDir, "usr/lib/systemd/system/multi-user.target.wants/"} {
		if Exists(t, dir+unit) {
			return true
		}
	}
	return false
}

// findPlugin returns the path of NetworkManager's ifcfg-rh plugin, "" when it
// is not there. It lies in a directory named for the version.
func findPlugin(t Tree) string {
	for _, dir := range pluginDirs {
		list, err := t.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range list {
			name := e.Path
			if e.Kind == KindDir {
				name = path.Join(e.Path, ifcfgPlugin)
			}
			if path.Base(name) == ifcfgPlugin && Exists(t, name) {
				return name
			}
		}
	}
	return ""
}

// ifcfgFiles are the files that configure interfaces, without lo's.
func ifcfgFiles(files netFiles) []string {
	var list []string
	for _, name := range files.glob(ifcfgDir, "ifcfg-") {
		if suffix := strings.TrimPrefix(path.Base(name), "ifcfg-"); suffix != "lo" && suffix != "" && !backupFile(suffix) {
			list = append(list, name)
		}
	}
	return list
}

// readsIfcfg tells whether anything in the system reads ifcfg files.
func (s netSystem) readsIfcfg() bool { return s.scripts || s.ifcfgRH || s.bare }

// wantsKeyfiles tells whether the system should be given keyfiles: EL9 still
// reads ifcfg files, as deprecated, and no longer writes them.
func (s netSystem) wantsKeyfiles() bool {
	return s.nm && (!s.ifcfgRH || s.release.Major >= 9) && !s.scripts
}

func (s netSystem) String() string {
	var list []string
	for _, m := range []struct {
		is   bool
		name string
	}{
		{s.nm, "NetworkManager"}, {s.scripts, "network-scripts"}, {s.networkd, "systemd-networkd"}, {s.ifupdown, "ifupdown"}, {s.bare, "ifcfg files with a reader of its own"},
	} {
		if m.is {
			list = append(list, m.name)
		}
	}
	if len(list) == 0 {
		return "nothing that abupdate knows"
	}
	return strings.Join(list, " and ")
}
