//go:build qemu

package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appliance "github.com/abupdate/abupdate/images/gateway"
)

// Addresses that the customer gives his gateway, in QEMU's user network.
const (
	customerAddress = "10.0.2.77"
	aliasAddress    = "10.0.2.78"
	laterAddress    = "10.0.2.99"
)

// gatewayPolicy is the vendor's: his application's settings survive where
// they were changed.
const gatewayPolicy = `[[path]]
path = "/etc/gateway"
recursive = true
when = "changed"
`

// preserveReleases differ in their defaults and in their accounts.
var preserveReleases = []gatewayRelease{
	{version: "1.0.0", healthy: true, files: gatewayDefaults(1)},
	{version: "2.0.0", healthy: true, files: gatewayDefaults(2), alter: otherAccounts},
	{version: "9.0.0", healthy: true, files: gatewayDefaults(9), alter: otherAccounts, dressed: appliance.EL9},
}

func gatewayDefaults(level int) map[string][]byte {
	text := fmt.Appendf(nil, "level=%d\n", level)
	return map[string][]byte{
		"/usr/lib/abupdate/preserve.d/10-gateway.toml": []byte(gatewayPolicy),
		"/etc/gateway/untouched.conf":                  text,
		"/etc/gateway/changed.conf":                    text,
		"/etc/sysctl.d/50-gateway.conf":                fmt.Appendf(nil, "vm.swappiness = %d\n", 10*level),
		"/etc/hostname":                                fmt.Appendf(nil, "image-%d\n", level),
	}
}

// otherAccounts gives an image another user database than version 1.0.0 has:
// system accounts with the numbers of the customer's people, and a login that
// the customer does not know.
func otherAccounts(tree string) error {
	for file, edit := range map[string]func(string) string{
		"etc/passwd": func(s string) string {
			s = strings.Replace(s, "messagebus:x:100:", "messagebus:x:1001:", 1)
			s = strings.Replace(s, "sshd:x:101:", "sshd:x:100:", 1)
			return s + "acme:x:1000:1000:Acme daemon:/var/lib/acme:/usr/sbin/nologin\nvendor:x:1002:1002::/home/vendor:/bin/bash\n"
		},
		"etc/shadow": func(s string) string {
			return s + "acme:!:20000::::::\nvendor:$6$saltsalt$vendorshash:20000:0:99999:7:::\n"
		},
		"etc/group":   func(s string) string { return s + "acme:x:1000:\nvendor:x:1002:\n" },
		"etc/gshadow": func(s string) string { return s + "acme:!::\nvendor:!::\n" },
	} {
		path := filepath.Join(tree, file)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// Written in place: owner and mode stay.
		if err := os.WriteFile(path, []byte(edit(string(b))), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"find", tree, "-xdev", "-uid", "100", "-exec", "chown", "-h", "1001", "{}", "+"},
		{"find", tree, "-xdev", "-uid", "101", "-exec", "chown", "-h", "100", "{}", "+"},
		{"install", "-d", "-o", "1000", "-g", "1000", filepath.Join(tree, "var/lib/acme")},
		{"sh", "-c", "rm ssh_host_* && ssh-keygen -q -t ed25519 -N '' -C image -f ssh_host_ed25519_key"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = filepath.Join(tree, "etc/ssh")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// configure is what the customer does on his first day. %s is a public key.
const configure = `set -e
useradd -m -u 1000 -s /bin/bash technician
useradd -m -u 1001 -s /bin/sh keyed
printf 'technician:first\nroot:of the root\n' | chpasswd
install -d -m 700 -o keyed -g keyed /home/keyed/.ssh
echo '%s' >/home/keyed/.ssh/authorized_keys
chown keyed: /home/keyed/.ssh/authorized_keys
rm /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C customer -f /etc/ssh/ssh_host_ed25519_key
echo customer-gw >/etc/hostname
hostname customer-gw
ln -sfn ../usr/share/zoneinfo/Asia/Kathmandu /etc/localtime
mkdir -p /opt/acme
echo 'license=4711' >/opt/acme/site.conf
chown technician:keyed /opt/acme/site.conf
chmod 0640 /opt/acme/site.conf
printf '[[path]]\npath = "/opt/acme/site.conf"\nmissing = "fail"\n' >/etc/abupdate/preserve.d/50-site.toml
echo level=7 >/etc/gateway/changed.conf
`

// network is what he writes to the ifcfg files. %[1]s is the address.
const network = `set -e
cd /etc/sysconfig/network-scripts
cat >ifcfg-eth0 <<.
DEVICE=eth0
TYPE="Ethernet"
ONBOOT=yes
BOOTPROTO=none
IPADDR=%[1]s
PREFIX=24
GATEWAY=10.0.2.2
DNS1=10.0.2.3
DNS2=192.0.2.53
DOMAIN="customer.example"
.
cat >ifcfg-eth0:1 <<.
DEVICE=eth0:1
IPADDR=10.0.2.78
PREFIX=24
.
printf '198.51.100.0/24 via 10.0.2.4 dev eth0\n203.0.113.128/25 via 10.0.2.5 dev eth0\n' >route-eth0
systemd-run --no-block systemctl restart network
`

// customer is a gateway with his configuration, and his ssh client.
type customer struct {
	*gatewayRig
	client *openssh
	root   string // root's line in shadow
}

// newCustomer starts version 1.0.0 and configures it.
func newCustomer(t *testing.T) *customer {
	t.Helper()
	c := &customer{gatewayRig: newGatewayRig(t, preserveReleases)}
	c.start("1.0.0", customerAddress, aliasAddress, laterAddress)
	c.boots("1.0.0", "a", "good")
	c.command(c.dir, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "keyed")
	public, err := os.ReadFile(filepath.Join(c.dir, "keyed.pub"))
	if err != nil {
		t.Fatal(err)
	}
	c.ssh(fmt.Sprintf(configure, strings.TrimSpace(string(public))))
	c.client = newOpenSSH(t, c.dir, strings.TrimSpace(c.ssh("cat /etc/ssh/ssh_host_ed25519_key.pub")))
	c.root = c.ssh("getent shadow root")
	c.ssh(fmt.Sprintf(network, customerAddress))
	c.guest = customerAddress
	return c
}

// enters checks that somebody can log in at an address, and what he sees.
func (c *customer) enters(guest string, who credential) {
	c.t.Helper()
	address, err := c.machine.AddressAt(c.t.Context(), guest, 22)
	if err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		out, err := c.client.try(address, who, "id -un")
		if err == nil {
			if strings.TrimSpace(out) != who.user {
				c.t.Errorf("%s is %q in there", who.user, out)
			}
			return
		}
		if time.Now().After(deadline) || strings.Contains(err.Error(), "Permission denied") || strings.Contains(err.Error(), "verification failed") {
			c.t.Errorf("%s at %s: %v", who.user, guest, err)
			return
		}
	}
}

// rejected checks that a login is answered, and refused.
func (c *customer) rejected(guest string, who credential) {
	c.t.Helper()
	address, err := c.machine.AddressAt(c.t.Context(), guest, 22)
	if err != nil {
		c.t.Fatal(err)
	}
	if out, err := c.client.try(address, who, "id -un"); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		c.t.Errorf("%s got in at %s, or nobody answered: %q, %v", who.user, guest, out, err)
	}
}

// silent checks that nobody answers at an address.
func (c *customer) silent(guest string) {
	c.t.Helper()
	address, err := c.machine.AddressAt(c.t.Context(), guest, 22)
	if err != nil {
		c.t.Fatal(err)
	}
	if out, err := c.client.try(address, credential{user: "technician", password: "first"}, "id -un"); err == nil || strings.Contains(err.Error(), "denied") {
		c.t.Errorf("somebody answers at %s: %q, %v", guest, out, err)
	}
}

// sees compares what commands print in the gateway, in one session.
func (c *customer) sees(want map[string]string) {
	c.t.Helper()
	var script strings.Builder
	for command := range want {
		fmt.Fprintf(&script, "echo '<%s>'\n( %s ) 2>&1\necho '<end>'\n", strings.ReplaceAll(command, "'", `'\''`), command)
	}
	out := c.ssh(script.String())
	for command, text := range want {
		_, after, began := strings.Cut(out, "<"+command+">\n")
		got, _, ended := strings.Cut(after, "<end>\n")
		if got = strings.TrimSpace(got); !began || !ended || got != text {
			c.t.Errorf("%s\nprints %q\nwant   %q", command, got, text)
		}
	}
}

// his is what must be his in every version: addresses, routes, accounts.
func (c *customer) his(address, level string) {
	c.t.Helper()
	c.sees(map[string]string{
		"ip -4 -o address show dev eth0 | awk '{print $4}'":               address + "/24\n" + aliasAddress + "/24",
		"grep -v '^#' /etc/resolv.conf":                                   "search customer.example\nnameserver 10.0.2.3\nnameserver 192.0.2.53",
		"ip -4 route get 198.51.100.1 | head -1 | cut -d' ' -f1-5":        "198.51.100.1 via 10.0.2.4 dev eth0",
		"ip -4 route get 203.0.113.200 | head -1 | cut -d' ' -f1-5":       "203.0.113.200 via 10.0.2.5 dev eth0",
		"ip -4 route get 192.0.2.1 | head -1 | cut -d' ' -f1-5":           "192.0.2.1 via 10.0.2.2 dev eth0",
		"id -un 1000; id -un 1001":                                        "technician\nkeyed",
		"getent shadow root":                                              strings.TrimSpace(c.root),
		"getent shadow keyed | cut -d: -f2":                               "!",
		"getent passwd vendor":                                            "",
		"date +%z":                                                        "+0545",
		"cat /opt/acme/site.conf; stat -c '%U %G %a' /opt/acme/site.conf": "license=4711\ntechnician keyed 640",
		"cat /etc/gateway/changed.conf":                                   "level=7",
		"cat /etc/gateway/untouched.conf":                                 "level=" + level,
		"cat /proc/sys/vm/swappiness":                                     level + "0",
		"ls /etc/ssh/ssh_host_*_key":                                      "/etc/ssh/ssh_host_ed25519_key",
		"systemctl --failed --no-legend --plain":                          "",
	})
}

// TestGatewayPreserve: what the customer set is there in the next version,
// whose accounts and defaults are others, and ssh(1) finds it where it was.
func TestGatewayPreserve(t *testing.T) {
	t.Parallel()
	c := newCustomer(t)
	c.enters(customerAddress, credential{user: "technician", password: "first"})

	t.Log("a password that was changed after the apply survives the update")
	c.apply("2.0.0")
	c.ssh("echo 'technician:second' | chpasswd")
	c.reboot()
	c.boots("2.0.0", "b", "trial")
	c.enters(customerAddress, credential{user: "technician", password: "second"})
	c.rejected(customerAddress, credential{user: "technician", password: "first"})
	c.enters(customerAddress, credential{user: "keyed", key: "keyed"})
	c.enters(aliasAddress, credential{user: "keyed", key: "keyed"})
	c.silent(appliance.Address)
	c.his(customerAddress, "2")
	c.sees(map[string]string{
		"hostname":                   "customer-gw",
		"stat -c '%U' /var/lib/acme": "acme",
		`[ "$(id -u acme)" -ge 1000 ] && [ "$(id -u acme)" -le 1002 ]; echo $?`: "1",
	})
	c.committed()

	t.Log("rollback --carry-config gives the version before what is set now")
	c.ssh(`echo later-gw >/etc/hostname; echo 'technician:third' | chpasswd; ` + fmt.Sprintf(network, laterAddress))
	c.guest = laterAddress
	if diff := c.ssh("abupdate preserve diff"); !strings.Contains(diff, "hostname  /etc/hostname: later-gw") {
		t.Errorf("preserve diff says nothing of the name:\n%s", diff)
	}
	c.ssh("abupdate rollback --carry-config")
	c.reboot()
	c.boots("1.0.0", "a", "trial")
	c.enters(laterAddress, credential{user: "technician", password: "third"})
	c.enters(laterAddress, credential{user: "keyed", key: "keyed"})
	c.silent(customerAddress)
	c.his(laterAddress, "1")
	c.sees(map[string]string{"hostname": "later-gw", "getent passwd acme": ""})
	c.committed()

	t.Log("rollback without the flag finds the other version as it was left")
	c.ssh("echo gone >/etc/hostname; echo 'technician:fourth' | chpasswd; abupdate rollback")
	c.reboot()
	c.boots("2.0.0", "b", "trial")
	c.enters(laterAddress, credential{user: "technician", password: "third"})
	c.rejected(laterAddress, credential{user: "technician", password: "fourth"})
	c.sees(map[string]string{"hostname": "later-gw"})
}
