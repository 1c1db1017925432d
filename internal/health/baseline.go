package health

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Baseline is what did not work before the update.
type Baseline struct {
	// Failed are the names of the checks that failed, sorted.
	Failed []string
}

// baselineFormat is the version of the encoding.
const baselineFormat = 1

// maxBaseline bounds the encoding, which has to fit a record of the boot
// partition.
const maxBaseline = 48 << 10

type baselineJSON struct {
	FormatVersion int      `json:"formatVersion"`
	Failed        []string `json:"failed"`
}

// Baseline looks at the running system rounds times (at least once), pause
// apart. Only what failed every time is kept: one bad moment must not excuse
// that thing for the whole trial.
func (c *Checker) Baseline(ctx context.Context, rounds int, pause time.Duration) (Baseline, error) {
	b := NewBaseline(c.Run(ctx))
	for ; rounds > 1 && len(b.Failed) > 0; rounds-- {
		if err := sleep(ctx, pause); err != nil {
			return Baseline{}, err
		}
		again := NewBaseline(c.Run(ctx))
		b.Failed = slices.DeleteFunc(b.Failed, func(name string) bool {
			_, failed := slices.BinarySearch(again.Failed, name)
			return !failed
		})
	}
	if ctx.Err() != nil { // what was cut short looks like a failure
		return Baseline{}, context.Cause(ctx)
	}
	return b, nil
}

// NewBaseline keeps the failures among results.
func NewBaseline(results []Result) Baseline {
	b := Baseline{Failed: []string{}}
	for _, r := range results {
		if !r.OK {
			b.Failed = append(b.Failed, r.Name)
		}
	}
	slices.Sort(b.Failed)
	b.Failed = slices.Compact(b.Failed)
	size := len(Baseline{}.Encode())
	for i, name := range b.Failed {
		size += len(Baseline{Failed: []string{name}}.Encode())
		if size > maxBaseline {
			b.Failed = b.Failed[:i] // names left out are not excused: the strict side
			break
		}
	}
	return b
}

// Encode returns the JSON form of b, which ParseBaseline reads.
func (b Baseline) Encode() []byte {
	j := baselineJSON{FormatVersion: baselineFormat, Failed: b.Failed}
	if j.Failed == nil {
		j.Failed = []string{}
	}
	out, err := json.Marshal(j)
	if err != nil {
		panic(fmt.Sprintf("internal error: encoding a baseline: %v", err)) // strings always encode
	}
	return out
}

// ParseBaseline reads what Encode wrote, and nothing else.
func ParseBaseline(data []byte) (Baseline, error) {
	if len(data) > maxBaseline {
		return Baseline{}, fmt.Errorf("health baseline: %d bytes, more than %d", len(data), maxBaseline)
	}
	var j baselineJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return Baseline{}, fmt.Errorf("health baseline: %w", err)
	}
	if j.FormatVersion != baselineFormat {
		return Baseline{}, fmt.Errorf("health baseline: format %d, this program knows %d", j.FormatVersion, baselineFormat)
	}
	b := Baseline{Failed: j.Failed}
	for i, name := range b.Failed {
		if name == "" || tidy(name) != name || i > 0 && b.Failed[i-1] >= name {
			return Baseline{}, fmt.Errorf("health baseline: name %d (%q) is bad or out of order", i, name)
		}
	}
	if !bytes.Equal(b.Encode(), data) {
		return Baseline{}, fmt.Errorf("health baseline: not in the form in which it is written")
	}
	return b, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
