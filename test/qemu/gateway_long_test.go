//go:build qemu && long

package qemu

import (
	"context"
	"testing"
	"time"

	appliance "github.com/abupdate/abupdate/images/gateway"
)

// TestGatewayNobodyDecides boots the realistic appliance nine times.
func TestGatewayNobodyDecides(t *testing.T) {
	t.Parallel()
	r := newGatewayRig(t, unitReleases)
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

// TestGatewayPreserveIntoEL9: the same customer updates to a release whose
// network is configured by keyfiles.
func TestGatewayPreserveIntoEL9(t *testing.T) {
	t.Parallel()
	c := newCustomer(t)
	c.apply("9.0.0")
	c.reboot()
	c.boots("9.0.0", "b", "trial")
	c.enters(customerAddress, credential{user: "technician", password: "first"})
	c.enters(aliasAddress, credential{user: "keyed", key: "keyed"})
	c.silent(appliance.Address)
	c.his(customerAddress, "9")
	c.sees(map[string]string{
		"hostname": "customer-gw",
		"stat -c '%n %a %U' /etc/NetworkManager/system-connections/*": "/etc/NetworkManager/system-connections/eth0.nmconnection 600 root",
		"ls /etc/sysconfig": "ls: cannot access '/etc/sysconfig': No such file or directory",
	})
	c.committed()
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
