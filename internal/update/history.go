package update

import (
	"encoding/json"
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// Action names what a Result is about.
type Action string

// The actions that the history knows.
const (
	ActionApply    Action = "apply"
	ActionArm      Action = "arm"
	ActionCommit   Action = "commit"
	ActionRollback Action = "rollback"
	ActionHealth   Action = "health"   // a trial failed its health check
	ActionFallback Action = "fallback" // GRUB went back by itself
	ActionMigrate  Action = "migrate"  // a migration came to its end
)

// Result is one line of the history, visible from both slots.
type Result struct {
	// Time is the wall clock in seconds since 1970; it may be wrong.
	Time    int64  `json:"time"`
	Action  Action `json:"action"`
	Slot    string `json:"slot"`
	Version string `json:"version,omitempty"`
	Code    int    `json:"code"` // exit code; 0: it worked
	Message string `json:"message,omitempty"`
}

// Exit codes in results that are not those of the command at work.
const (
	codeHealth   = 50 // a failed trial
	codePreserve = 51 // the configuration cannot be carried over
)

// historyLength is how many results are kept.
const historyLength = 100

// maxMessage bounds a result's message in bytes, so that the ring fits its
// record.
const maxMessage = 1000

// History returns the stored results, oldest first.
func (u *Updater) History() ([]Result, error) {
	b, err := u.dev.Store.Record(bootctl.RecordHistory)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	var ring []Result
	if err := json.Unmarshal(b, &ring); err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	return ring, nil
}

// LastResult returns the newest result; nil when there is none.
func (u *Updater) LastResult() *Result {
	ring, err := u.History()
	if err != nil || len(ring) == 0 {
		return nil
	}
	return &ring[len(ring)-1]
}

// Note appends a line about the running slot to the history.
func (u *Updater) Note(action Action, message string) error {
	version := ""
	if m := u.facts.Slot(u.facts.Running).Manifest; m != nil {
		version = m.Version
	}
	return u.record(Result{Action: action, Slot: u.facts.Running.String(), Version: version, Message: message})
}

// record appends to the history. An unreadable history is begun anew: it is
// for people and must never stop an update.
func (u *Updater) record(r Result) error {
	ring, err := u.History()
	if err != nil {
		u.o.Notice("%v; it begins anew", err)
	}
	r.Time = u.o.Now().Unix()
	if len(r.Message) > maxMessage {
		r.Message = r.Message[:maxMessage]
	}
	ring = append(ring, r)
	if len(ring) > historyLength {
		ring = ring[len(ring)-historyLength:]
	}
	b, err := json.Marshal(ring)
	if err != nil {
		return err
	}
	return u.dev.Store.SetRecord(bootctl.RecordHistory, b)
}
