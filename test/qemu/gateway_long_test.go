//go:build qemu && long

package qemu

import (
	"context"
	"testing"
	"time"
)

// TestGatewayNobodyDecides boots the realistic appliance nine times.
func TestGatewayNobodyDecides(t *testing.T) {
	t.Parallel()
	r := newGatewayRig(t)
	r.start("1.0.0")
	r.boots("1.0.0", "a", "good")

	t.Log("a system that ends in the emergency shell reboots, until no try is left")
	r.apply("4.0.0")
	r.reboot()
	for try := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		_, err := r.machine.Console.Expect(ctx, `AB: booting b, why=trial`)
		if err == nil {
			_, err = r.machine.Console.Expect(ctx, `You are in emergency mode`)
		}
		cancel()
		if err != nil {
			t.Fatalf("try %d: %v", try+1, err)
		}
	}
	r.boots("1.0.0", "a", "good")

	t.Log("a system whose trial nobody decides reboots at the deadline, until no try is left")
	r.apply("5.0.0")
	r.reboot()
	for range 3 {
		r.boots("5.0.0", "b", "trial")
	}
	r.boots("1.0.0", "a", "good")
}
