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
	for range 3 {
		r.says(`AB: booting b, why=trial`)
		r.says(`You are in emergency mode`)
	}
	r.boots("1.0.0", "a", "good")

	t.Log("a system whose trial nobody decides reboots at the deadline, until no try is left")
	r.apply("5.0.0")
	r.reboot()
	for range 3 {
		r.says(`AB: booting b, why=trial`)
	}
	r.boots("1.0.0", "a", "good")
}

// says waits for words on the console.
func (r *gatewayRig) says(pattern string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := r.machine.Console.Expect(ctx, pattern); err != nil {
		r.t.Fatal(err)
	}
}
