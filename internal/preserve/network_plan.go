package preserve

import (
	"cmp"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// transfer is one attempt to bring the network from an old system into a new
// one: as it is, or in another form.
type transfer struct {
	oldTree, newTree   Tree
	oldFiles, newFiles netFiles
	before, after      netSystem
	state              *netState // before
	live               []Link

	writes  map[string]netFile
	removes map[string]bool
	args    []string
	notes   []Note
}

func (t *transfer) note(kind NoteKind, subject, format string, args ...any) {
	t.notes = append(t.notes, makeNote(kind, subject, format, args...))
}

func (t *transfer) write(name string, content []byte, mode fs.FileMode) {
	delete(t.removes, name)
	t.writes[name] = netFile{content: content, mode: mode, readable: true}
}

// remove removes what the new image has at a place that the network is read
// from, unless it is written.
func (t *transfer) remove(name string) {
	if _, ok := t.writes[name]; !ok && t.newFiles.exists(name) {
		t.removes[name] = true
	}
}

// result are the new system's files afterwards.
func (t *transfer) result() netFiles {
	files := maps.Clone(t.newFiles)
	maps.Copy(files, t.writes)
	for name := range t.removes {
		delete(files, name)
	}
	return files
}

// check reads the result as the new system would and compares. It returns
// what would differ, "" when nothing does.
func (t *transfer) check() (string, error) {
	files := t.result()
	sys, err := detectNet(t.newTree, files)
	if err != nil {
		return "", err
	}
	after, err := readState(files, sys, t.newLive(), func(NoteKind, string, string, ...any) {})
	if err != nil {
		return "", err
	}
	return t.state.difference(after), nil
}

// verify reads the whole plan's result once more, from the new tree as it
// will be: what the planner made of the transfer must still be the same.
func (t *transfer) verify(result Tree) error {
	files, err := loadNetFiles(result)
	if err != nil {
		return err
	}
	sys, err := detectNet(result, files)
	if err != nil {
		return err
	}
	after, err := readState(files, sys, t.newLive(), func(NoteKind, string, string, ...any) {})
	if err != nil {
		return err
	}
	if d := t.state.difference(after); d != "" {
		return refusal("network", "", "internal error: the planned files would bring the new system up %s", d)
	}
	return nil
}

// commit hands the transfer to the planner.
func (t *transfer) commit(p *Planner) error {
	for _, name := range slices.Sorted(maps.Keys(t.writes)) {
		f := t.writes[name]
		if err := p.Write(name, f.content, f.mode, 0, 0); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.removes)) {
		if err := p.Remove(name); err != nil {
			return err
		}
		p.Note(Dropped, absolute(name), "the new image's own")
	}
	for _, a := range t.args {
		p.AddKernelArg(a)
	}
	for _, n := range t.notes {
		p.Note(n.Kind, n.Subject, "%s", n.Detail)
	}
	return nil
}

// sameNames tells whether both systems name interfaces by the same rules.
func (t *transfer) sameNames() bool {
	return t.before.release == t.after.release && t.before.release.Major != 0
}

// names plans that interfaces keep their names: kernel names by not letting
// udev change them, others by .link files where the rules have changed.
func (t *transfer) names() {
	links := t.state.physical()
	if len(links) == 0 {
		links = t.live
	}
	kernel := 0
	for _, l := range links {
		switch {
		case kernelName.MatchString(l.Name):
			kernel++
		case t.sameNames():
		case l.MAC == "":
			t.note(Warning, l.Name, "its MAC address is not known: the new system may give it another name")
		default:
			if _, kept := t.writes[t.linkOf(l.Name)]; !kept {
				file, content := linkFile(l.Name, l.MAC, t.after.release.Major)
				t.write(file, content, 0o644)
				t.note(Translated, l.Name, "keeps its name by %s", absolute(file))
			}
		}
	}
	if kernel > 0 {
		t.args = append(t.args, "net.ifnames=0", "biosdevname=0")
	}
	if kernel > 1 {
		t.note(Warning, "eth0…", "%d interfaces have names of the kernel's, which numbers them as it finds them: settings follow the MAC address where it is known, names may not", kernel)
	}
}

// linkOf is the .link file of the old system that gives a name, if it is
// carried.
func (t *transfer) linkOf(name string) string {
	for file, f := range t.writes {
		if strings.HasSuffix(file, ".link") {
			n := &linkNames{map[string]string{}, map[string]string{}}
			if n.readLink(file, f.content) == nil && n.mac[name] != "" {
				return file
			}
		}
	}
	return ""
}

// newLive are the names that the new kernel and udev give by themselves.
func (t *transfer) newLive() []Link {
	var links []Link
	for _, l := range append(slices.Clone(t.live), t.state.physical()...) {
		if l.MAC != "" && (t.sameNames() || kernelName.MatchString(l.Name)) {
			links = append(links, l)
		}
	}
	return links
}

// conf plans NetworkManager's own configuration: what matters of it stays as
// it was.
func (t *transfer) conf(dns string) {
	if !t.after.nm {
		return
	}
	old, now := t.before.conf, t.after.conf
	want := nmConf{}
	set := func(to *string, wanted, is, unset string) {
		if wanted != is {
			*to = cmp.Or(wanted, unset)
		}
	}
	if t.before.nm {
		set(&want.noAutoDefault, old.noAutoDefault, now.noAutoDefault, "no")
		set(&want.unmanaged, old.unmanaged, now.unmanaged, "none")
		set(&want.rcManager, old.rcManager, now.rcManager, "auto")
		dns = cmp.Or(dns, old.dns)
	} else if now.idleDHCP() {
		// network-scripts leave an interface without a file alone.
		want.noAutoDefault = "*"
	}
	set(&want.dns, dns, now.dns, "default")
	if content := want.own(); content != nil {
		t.write(nmOwnConf, content, 0o644)
		t.note(Translated, absolute(nmOwnConf), "NetworkManager behaves as before")
	} else {
		t.remove(nmOwnConf)
	}
}

// clear removes the new image's own network files: the old set replaces them
// whole, never mixed.
func (t *transfer) clear() {
	for _, name := range ifcfgFiles(t.newFiles) {
		t.remove(name)
	}
	for _, prefix := range []string{"route-", "route6-", "rule-", "rule6-"} {
		for _, name := range t.newFiles.glob(ifcfgDir, prefix) {
			t.remove(name)
		}
	}
	for _, dir := range []string{keyfileDir, vendorKeyfileDir} {
		for _, name := range t.newFiles.glob(dir, "") {
			t.remove(name)
		}
	}
	for _, name := range opaqueNames(t.newFiles, t.after) {
		t.remove(name)
	}
	for _, name := range t.newFiles.glob("etc/udev/rules.d", "") {
		t.remove(name)
	}
}

// keep carries files that are read as they are.
func (t *transfer) keep(names ...string) {
	for _, name := range names {
		f, ok := t.oldFiles[name]
		if !ok || !f.readable {
			continue
		}
		mode := f.mode & 0o644
		if path.Dir(name) == keyfileDir {
			mode = 0o600
		}
		t.write(name, f.content, mode)
		t.note(Carried, absolute(name), "as it is")
	}
}

// resolvConf carries /etc/resolv.conf unless something in the new system
// makes it.
func (t *transfer) resolvConf(theirs bool) {
	f, ok := t.oldFiles[resolvConf]
	if !ok || !f.readable || f.symlink {
		return
	}
	if now, ok := t.newFiles[resolvConf]; ok && now.symlink && !theirs {
		t.note(Kept, absolute(resolvConf), "the new system makes it")
		return
	}
	t.keep(resolvConf)
}
