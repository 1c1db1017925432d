package migrate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/abupdate/abupdate/internal/preserve"
)

// role is what a directory of an EL system is for.
type role uint8

const (
	roleData    role = iota + 1 // nobody but the customer knows: it is kept
	roleSystem                  // the image brings its own, or the preserve set has it
	roleDrop                    // of the old system, and of no use to the new one
	roleDescend                 // a mixture: look at what is in it
)

// directories are those with a role of their own. What is in none of them, and
// in one to descend into, is data: a directory that somebody made is never
// lost for being unknown.
var directories = map[string]role{
	"": roleDescend, "bin": roleSystem, "boot": roleSystem, "dev": roleSystem, "etc": roleSystem, "lib": roleSystem,
	"lib64": roleSystem, "lost+found": roleSystem, "media": roleSystem, "mnt": roleDescend, "proc": roleSystem,
	"run": roleSystem, "sbin": roleSystem, "sys": roleSystem, "tmp": roleDrop, "usr": roleDescend, "var": roleDescend,

	"usr/bin": roleSystem, "usr/etc": roleSystem, "usr/games": roleSystem, "usr/include": roleSystem, "usr/lib": roleSystem,
	"usr/lib64": roleSystem, "usr/libexec": roleSystem, "usr/sbin": roleSystem, "usr/share": roleSystem, "usr/src": roleSystem,
	"usr/tmp": roleDrop, "usr/lib32": roleSystem,

	"var/account": roleSystem, "var/adm": roleSystem, "var/cache": roleDrop, "var/crash": roleDrop, "var/db": roleSystem,
	"var/empty": roleSystem, "var/games": roleSystem, "var/gopher": roleSystem, "var/kerberos": roleSystem,
	"var/lib": roleDescend, "var/local": roleData, "var/lock": roleSystem, "var/log": roleDrop, "var/mail": roleData,
	"var/nis": roleSystem, "var/preserve": roleSystem, "var/run": roleSystem, "var/spool": roleDescend, "var/tmp": roleDrop,
	"var/yp": roleSystem, "var/lost+found": roleSystem,

	"var/spool/anacron": roleSystem, "var/spool/at": roleSystem, "var/spool/cron": roleSystem, "var/spool/lpd": roleDrop,
	"var/spool/plymouth": roleSystem, "var/spool/postfix": roleDrop, "var/spool/up2date": roleSystem, "var/spool/abrt": roleDrop,
}

// systemState are directories in /var/lib that packages of a minimal EL
// system keep for themselves.
var systemState = []string{
	"AccountsService", "NetworkManager", "abupdate", "alternatives", "authconfig", "authselect", "chrony", "cloud", "dbus", "dhclient",
	"dnf", "fprint", "games", "gssproxy", "initramfs", "iscsi", "kdump", "lldpad", "logrotate", "lvm", "misc", "mlocate", "nfs",
	"ntp", "os-prober", "plymouth", "polkit-1", "portables", "postfix", "private", "rasdaemon", "rhsm", "rpcbind", "rpm",
	"rpm-state", "rsyslog", "selinux", "sss", "stateless", "sudo", "systemd", "tpm", "tpm2-tss", "tuned", "udisks2", "unbound",
	"vmware", "yum",
}

// dropWords say why a directory is left behind.
var dropWords = map[string]string{
	"tmp": "temporary files", "usr/tmp": "temporary files", "var/tmp": "temporary files", "var/cache": "caches",
	"var/crash": "crash dumps", "var/log": "logs of the old system", "var/spool/lpd": "a print queue",
	"var/spool/postfix": "a mail queue", "var/spool/abrt": "crash dumps",
}

func roleOf(name string) role {
	if r, ok := directories[name]; ok {
		return r
	}
	if dir, base := path.Split(name); dir == "var/lib/" && slices.Contains(systemState, base) {
		return roleSystem
	}
	return roleData
}

// surveyor counts the trees of a running system.
type surveyor struct {
	ctx    context.Context //nolint:containedctx // lives for one call
	s      *Survey
	root   string
	mounts map[string]mount
	policy *preserve.Policy
}

// readTrees finds the directories with customers' data.
func (h *host) readTrees(ctx context.Context, s *Survey, mounts map[string]mount) error {
	w := &surveyor{ctx: ctx, s: s, root: h.root, mounts: mounts}
	var err error
	if w.policy, err = loadPolicy(h.root); err != nil {
		return err
	}
	for _, r := range w.policy.Rules {
		if !r.Drop {
			s.Carried = append(s.Carried, "/"+strings.TrimPrefix(r.Pattern, "/"))
		}
	}
	if err := w.descend(""); err != nil {
		return err
	}
	// File systems that are mounted somewhere within a tree, or within a
	// directory of the system's.
	for i := range s.Volumes {
		v := &s.Volumes[i]
		seen := slices.ContainsFunc(s.Trees, func(t Tree) bool { return t.Path == v.Mount })
		if v.Content.Kind != KindFilesystem || v.Mount == "" || seen || roleOf(rel(v.Mount)) != roleData {
			continue
		}
		if err := w.add(rel(v.Mount), roleData); err != nil {
			return err
		}
	}
	slices.SortFunc(s.Trees, func(a, b Tree) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// loadPolicy reads the site's policy files; the vendor's are in the image.
func loadPolicy(root string) (*preserve.Policy, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return preserve.LoadPolicy(preserve.DirTree(r), nil)
}

func rel(p string) string { return strings.TrimPrefix(path.Clean(p), "/") }

// descend looks at the directories within a mixed one.
func (w *surveyor) descend(name string) error {
	entries, err := os.ReadDir(filepath.Join(w.root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		child := path.Join(name, e.Name())
		if !e.IsDir() {
			continue // links such as /bin; and a file by itself is no tree
		}
		switch r := roleOf(child); r {
		case roleSystem:
		case roleDescend:
			if err := w.descend(child); err != nil {
				return err
			}
		case roleData, roleDrop:
			if err := w.add(child, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// add counts a tree and decides by policy whether it is left behind.
func (w *surveyor) add(name string, r role) error {
	at := "/" + name
	v := w.volumeOf(at)
	if v == nil {
		m := w.mounts[w.mountOf(at)]
		if m.at != "/" && m.root == "/" && !strings.HasPrefix(m.device, "0:") {
			w.s.unseen("%s, which is on %s and not on this disk: it is left alone", at, clip(m.source))
		}
		return nil
	}
	t := Tree{Path: at, Volume: v.Name, Root: v.Mount == at, Drop: w.dropRule(name)}
	if t.Drop == "" && r == roleDrop {
		t.Drop = "built-in: " + dropWords[name]
	}
	if err := w.count(&t); err != nil {
		return err
	}
	if t.Files > 0 {
		w.s.Trees = append(w.s.Trees, t)
	}
	return nil
}

// dropRule returns the policy rule that leaves a whole tree behind.
func (w *surveyor) dropRule(name string) string {
	for _, r := range slices.Backward(w.policy.Rules) {
		pattern := strings.TrimPrefix(r.Pattern, "/")
		if preserve.Match(pattern, name) || preserve.Match(pattern, name+"/x") {
			if r.Drop {
				return strings.TrimSuffix(r.Origin+": "+r.Reason, ": ")
			}
			return ""
		}
	}
	return ""
}

// mountOf returns the mount point that a path is under.
func (w *surveyor) mountOf(at string) string {
	for ; at != "/"; at = path.Dir(at) {
		if _, ok := w.mounts[at]; ok {
			return at
		}
	}
	return "/"
}

func (w *surveyor) volumeOf(at string) *Volume { return w.s.mounted(w.mountOf(at)) }

// count adds up the files of a tree, on its own file system only.
func (w *surveyor) count(t *Tree) error {
	top := filepath.Join(w.root, t.Path)
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		if err != nil {
			t.Partial = true // it vanished, or is not for us
			return nil
		}
		at := path.Join(t.Path, filepath.ToSlash(strings.TrimPrefix(p, top)))
		if _, mounted := w.mounts[at]; mounted && at != t.Path {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			t.Partial = true
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			t.Bytes += st.Blocks * 512
		}
		if !e.IsDir() {
			t.Files++
		}
		return nil
	})
}
