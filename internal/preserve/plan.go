package preserve

import (
	"fmt"
	"io/fs"
)

// Plan is a computed restore: what Apply will do to the new system, and what
// the user should know about it.
type Plan struct {
	// Ops are in the order of execution.
	Ops []Op
	// Notes say what is carried, translated, dropped, in the order found.
	Notes []Note
	// KernelArgs are device-specific kernel arguments for the new system's
	// args block, such as "net.ifnames=0 biosdevname=0".
	KernelArgs string

	old Tree // where the content of Op.Source comes from
	new Tree // the new system as its image has it
	// journal is what Apply writes down first: how it was, see journal.go.
	journal      *journal
	journalLabel string
	lifeSigns    map[string]string
}

// OpKind is what an Op does.
type OpKind uint8

// The kinds of operations.
const (
	_         OpKind = iota
	OpWrite          // a regular file, replacing whatever is there but a directory
	OpMkdir          // a directory; one that is there gets mode and owner
	OpSymlink        // a symbolic link, replacing whatever is there but a directory
	OpRemove         // no such entry; a directory only when it is empty
	OpOwner          // owner of what is there; mode and capability stay
)

func (k OpKind) String() string {
	switch k {
	case OpWrite:
		return "write"
	case OpMkdir:
		return "mkdir"
	case OpSymlink:
		return "symlink"
	case OpRemove:
		return "remove"
	case OpOwner:
		return "owner"
	}
	return fmt.Sprintf("invalid operation %d", uint8(k))
}

// Op is one step of a restore. Replaying it changes nothing more.
type Op struct {
	Kind OpKind
	Path string // as for the methods of Tree
	// Mode is permission bits, setgid and sticky for directories only.
	Mode     fs.FileMode
	UID, GID int               // numeric ids of the NEW system
	Xattrs   map[string]string // complete: what is not here is not kept
	Target   string            // of OpSymlink

	// Content of OpWrite: Data, or with Source set the file of that path in
	// the old tree, which must still have this size and hash.
	Data   []byte
	Source string
	Size   int64
	SHA256 [32]byte
}

// NoteKind is what became of something.
type NoteKind uint8

// The kinds of notes.
const (
	_          NoteKind = iota
	Carried             // is in the new system as it was
	Translated          // is in the new system in another form
	Dropped             // is not carried, on purpose
	Kept                // the new system's own default stays
	Warning             // carried, or not, but somebody should look
)

var noteNames = map[NoteKind]string{
	Carried: "carried", Translated: "translated", Dropped: "dropped", Kept: "kept", Warning: "warning",
}

func (k NoteKind) String() string {
	if s, ok := noteNames[k]; ok {
		return s
	}
	return fmt.Sprintf("invalid note %d", uint8(k))
}

// MarshalText writes the kind as a word.
func (k NoteKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Note is one line for the user.
type Note struct {
	Kind    NoteKind `json:"kind"`
	Handler string   `json:"handler,omitempty"` // "" for a policy rule
	Subject string   `json:"subject"`           // a path beginning with /, an account, an interface
	Detail  string   `json:"detail,omitempty"`
}
