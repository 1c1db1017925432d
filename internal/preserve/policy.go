package preserve

// Policy says what is carried over: the built-in default, the vendor's files
// and the site's, in this order; the last word counts.
type Policy struct {
	Rules    []Rule
	Disabled map[string]bool // handlers that are switched off, by name
}

// Rule is one [[path]] or [[drop]] of a policy file.
type Rule struct {
	Pattern string
	Drop    bool
}
