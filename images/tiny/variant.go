package tiny

import "fmt"

// Variant is how an appliance behaves.
type Variant uint8

const (
	// Healthy boots and passes its health check.
	Healthy Variant = iota + 1
	// Panics crashes the kernel as soon as userland runs.
	Panics
	// Hangs arms the software watchdog and then does nothing more, as a
	// gateway whose userland is stuck.
	Hangs
	// Unhealthy boots, and its required health check fails.
	Unhealthy
	// Undecided boots, and nobody runs a health check: the trial stays open.
	Undecided
)

var variantNames = map[Variant]string{
	Healthy:   "healthy",
	Panics:    "panics",
	Hangs:     "hangs",
	Unhealthy: "unhealthy",
	Undecided: "undecided",
}

// Valid reports whether v is one of the variants.
func (v Variant) Valid() bool { return variantNames[v] != "" }

// String returns the word that /usr/lib/tiny/variant holds.
func (v Variant) String() string {
	if !v.Valid() {
		return fmt.Sprintf("tiny.Variant(%d)", uint8(v))
	}
	return variantNames[v]
}

// ParseVariant is the inverse of String.
func ParseVariant(s string) (Variant, error) {
	for v, name := range variantNames {
		if name == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("appliance variant %q is unknown", s)
}

// VariantFile is where an image holds its variant; a test may rewrite it on
// a finished disk.
const VariantFile = "/usr/lib/tiny/variant"
