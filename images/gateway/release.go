package gateway

import "fmt"

// Release is the CentOS that an image is dressed as. It decides about the
// network alone: what configures it, and the stand-in that brings it up.
type Release uint8

const (
	// EL7 has ifcfg files, and a stand-in for network-scripts.
	EL7 Release = iota + 1
	// EL9 has keyfiles, and a stand-in for NetworkManager.
	EL9
)

// String returns the name of the release's overlay.
func (r Release) String() string {
	switch r {
	case EL7:
		return "el7"
	case EL9:
		return "el9"
	}
	return fmt.Sprintf("gateway.Release(%d)", uint8(r))
}

func (r Release) osRelease(version string) []byte {
	name, number := "CentOS Linux 7 (Core)", "7"
	if r == EL9 {
		name, number = "CentOS Stream 9", "9"
	}
	return fmt.Appendf(nil, `NAME="CentOS"
ID="centos"
ID_LIKE="rhel fedora"
VERSION_ID="%s"
PRETTY_NAME="Example Gateway %s on %s"
VARIANT_ID="gateway"
BUILD_ID="%s"
`, number, version, name, version)
}
