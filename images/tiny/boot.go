package tiny

import "fmt"

// BootPattern is the line that each start prints on the console, before the
// variant shows: which system this is, and what GRUB told its kernel.
const BootPattern = `tiny: version=(\S*) slot=(\S*) why=(\S*) seq=(\d*) root=(\S*)\n`

// UpPattern is printed once the network is configured.
const UpPattern = `tiny: up\n`

// Boot is the content of that line.
type Boot struct{ Version, Slot, Why, Seq, Root string }

// ParseBoot takes the groups of BootPattern.
func ParseBoot(groups []string) (Boot, error) {
	if len(groups) != 6 {
		return Boot{}, fmt.Errorf("internal error: %d groups in the boot line", len(groups))
	}
	return Boot{groups[1], groups[2], groups[3], groups[4], groups[5]}, nil
}

// String writes b for people.
func (b Boot) String() string {
	return fmt.Sprintf("version %s from slot %s (%s)", b.Version, b.Slot, b.Why)
}
