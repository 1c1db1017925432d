// Package slot names the two system slots of an A/B device.
//
// Invariant: the zero ID is no slot, so a forgotten initialisation is an
// error and never silently slot a. Start with Parse.
package slot

import "fmt"

// ID is one of the two slots.
type ID uint8

// The slots. The zero value is invalid on purpose.
const (
	A ID = iota + 1
	B
)

// All lists the slots in their order on disk.
var All = [2]ID{A, B}

// Parse reads the name of a slot, "a" or "b".
func Parse(s string) (ID, error) {
	switch s {
	case "a":
		return A, nil
	case "b":
		return B, nil
	}
	return 0, fmt.Errorf("slot %q: must be a or b", s)
}

// String returns "a" or "b".
func (id ID) String() string {
	switch id {
	case A:
		return "a"
	case B:
		return "b"
	}
	return fmt.Sprintf("slot.ID(%d)", uint8(id))
}

// Valid reports whether id is one of the two slots.
func (id ID) Valid() bool { return id == A || id == B }

// Other returns the slot that id is not.
func (id ID) Other() ID {
	switch id {
	case A:
		return B
	case B:
		return A
	}
	panic(fmt.Sprintf("internal error: other slot of %v", id))
}

// MarshalText and UnmarshalText keep JSON in the words of the command line.
func (id ID) MarshalText() ([]byte, error) {
	if !id.Valid() {
		return nil, fmt.Errorf("internal error: encoding %v", id)
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = Parse(string(text))
	return err
}
