package preserve

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Handler translates one typed thing: it knows what the old system's files
// mean, and writes what means the same to the new one.
//
// Handlers run in the order of handlers(), before the path rules of the
// policy. Each parses; none evaluates. What a handler cannot translate it
// refuses (Planner.Refuse) before anything is written.
type Handler interface {
	// Name is the handler's name in policy files and notes.
	Name() string
	// Sources returns patterns (see Match) of everything that Plan may read
	// from the old tree: they are what a capture archive holds for it.
	Sources(old Tree) []string
	// Plan plans. The new tree is the new system before the restore.
	Plan(old, new Tree, p *Planner) error
}

// handlers returns all handlers in the order in which they run.
//
// Who owns what: users: passwd, shadow, group, gshadow, subuid, subgid, homes
// and authorized_keys. hostname: hostname, hosts, machine-id, machine-info.
// network: ifcfg, route, rule, sysconfig/network, NetworkManager,
// resolv.conf, .link files, persistent-net rules.
func handlers() []Handler {
	return []Handler{users{}, hostname{}, network{}, selinux{}, ssh{}, clock{}, sudo{}, cron{}, sysctl{}, firewall{}, caTrust{}}
}

// HandlerNames lists all handlers in the order in which they run.
func HandlerNames() []string {
	var names []string
	for _, h := range handlers() {
		names = append(names, h.Name())
	}
	return names
}

// Planner collects a plan. Its methods are for handlers.
//
// Paths may be given with or without a leading slash. A path whose directory
// is a symbolic link of root's in the new system is written where that link
// leads, within the new system.
type Planner struct {
	old, new    Tree
	policy      *Policy
	host        Host
	handler     string // the one at work, "" for path rules
	plan        *Plan
	ops         map[string]*Op
	owners      map[string]string // path → handler that wrote it
	claims      []string          // patterns
	args        []string
	ids         *identities
	oldDefaults *defaults
	newDefaults *defaults
}

// Write plans a regular file, with mode's permission bits (0o600) and the
// numeric owner of the NEW system.
func (p *Planner) Write(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	return p.add(&Op{Kind: OpWrite, Path: path, Data: content, Mode: mode & fs.ModePerm, UID: uid, GID: gid})
}

// Mkdir plans a directory; missing parents are made as the old system has
// them, or root's, 0755.
func (p *Planner) Mkdir(path string, mode fs.FileMode, uid, gid int) error {
	return p.add(&Op{Kind: OpMkdir, Path: path, Mode: mode & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky), UID: uid, GID: gid})
}

// Symlink plans a symbolic link of root's.
func (p *Planner) Symlink(path, target string) error {
	return p.add(&Op{Kind: OpSymlink, Path: path, Target: target})
}

// Remove plans that path does not exist in the new system. A directory goes
// only when it is empty.
func (p *Planner) Remove(path string) error {
	return p.add(&Op{Kind: OpRemove, Path: path})
}

// Claim makes the paths that match the patterns this handler's own: path
// rules of the policy leave them alone, whether it writes them or not.
func (p *Planner) Claim(patterns ...string) {
	for _, pattern := range patterns {
		p.claims = append(p.claims, strings.TrimPrefix(pattern, "/"))
	}
}

// Note tells the user what became of subject.
func (p *Planner) Note(kind NoteKind, subject, format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, Note{Kind: kind, Handler: p.handler, Subject: subject, Detail: fmt.Sprintf(format, args...)})
}

// Refuse returns the error of a configuration that cannot be carried over.
// next says what to do about it; "" when there is nothing better than the
// reason itself. Foreign text in reason belongs into %q.
func (p *Planner) Refuse(subject, reason, next string) error {
	return &Refusal{Handler: p.handler, Subject: subject, Reason: reason, Next: next}
}

// AddKernelArg adds an argument to the new system's kernel command line.
func (p *Planner) AddKernelArg(arg string) {
	if !slices.Contains(p.args, arg) {
		p.args = append(p.args, arg)
	}
}

// Result is the new system as it will be after what is planned so far: a
// handler reads its own result back as the new system would.
func (p *Planner) Result() Tree { return &resultTree{base: p.new, ops: p.ops, source: p.old} }
