package delta

import "fmt"

// Level is how much time goes into making a delta small.
type Level uint8

// The levels.
const (
	Quick Level = iota + 1
	Best
)

// String returns the name that the command line uses.
func (l Level) String() string {
	switch l {
	case Quick:
		return "quick"
	case Best:
		return "best"
	}
	return fmt.Sprintf("delta.Level(%d)", uint8(l))
}

// ParseLevel parses what String returns.
func ParseLevel(s string) (Level, error) {
	for _, l := range []Level{Quick, Best} {
		if s == l.String() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("level %q: must be quick or best", s)
}
