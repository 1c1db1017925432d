package health_test

import (
	"context"
	"fmt"
	"time"

	"github.com/abupdate/abupdate/internal/health"
)

// Before the update a cable was out. After it the cable still is, which is
// excused, and for one round a service is not up yet, which is waited for.
func ExampleGate() {
	before := health.NewBaseline([]health.Result{
		{Name: "address:eth1", Required: true, OK: false},
		{Name: "tcp://127.0.0.1:443", Required: true, OK: true},
	})
	up := false
	gate := health.Gate{
		Baseline: before,
		Interval: time.Millisecond,
		Deadline: time.Minute,
		Check: func(context.Context) []health.Result { // in real life: Checker.Run
			r := []health.Result{
				{Name: "address:eth1", Required: true, OK: false, Detail: "eth1 is down"},
				{Name: "tcp://127.0.0.1:443", Required: true, OK: up, Detail: "connection refused"},
			}
			up = true
			return r
		},
		Report: func(round int, v health.Verdict) { fmt.Printf("%d: %v\n", round, v) },
	}
	verdict, err := gate.Wait(context.Background())
	fmt.Println("keep:", verdict.OK(), "excused:", len(verdict.Excused), err)
	// Output:
	// 1: tcp://127.0.0.1:443: connection refused
	// 2: healthy
	// keep: true excused: 1 <nil>
}
