package bootctl

import (
	_ "embed" // of grub.cfg.tmpl
	"fmt"
	"strconv"
	"strings"
)

//go:embed grub.cfg.tmpl
var grubTemplate string

// Schemes of partition tables, in GRUB's words.
const (
	SchemeMSDOS = "msdos"
	SchemeGPT   = "gpt"
)

// Commands that load a kernel.
const (
	CommandsLinux = "linux" // linux and initrd
	CommandsEL7   = "el7"   // linux16, or linuxefi under UEFI
)

// GrubParams are what makes one disk's grub.cfg differ from another's.
type GrubParams struct {
	// ID is Layout.ID.
	ID string
	// Scheme is SchemeMSDOS or SchemeGPT.
	Scheme string
	// Partition numbers, as in Layout.
	BootPart, APart, BPart int
	// PARTUUIDs of the slots in Linux's words: a GUID, or 1a2b3c4d-02 on MBR.
	PartUUIDA, PartUUIDB string
	// StateLBA is the first sector of the state file.
	StateLBA int64
	// Commands is CommandsLinux or CommandsEL7.
	Commands string
	// Serial makes GRUB write to the first serial port too. It goes on where
	// there is none.
	Serial bool
}

// RenderGrubConfig returns grub.cfg for one disk.
func RenderGrubConfig(p GrubParams) ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("rendering grub.cfg: %w", err)
	}
	part := func(n int) string { return p.Scheme + strconv.Itoa(n) }
	return []byte(strings.NewReplacer(
		"@ID@", p.ID,
		"@PART_BOOT@", part(p.BootPart),
		"@PART_A@", part(p.APart),
		"@PART_B@", part(p.BPart),
		"@PARTUUID_A@", p.PartUUIDA,
		"@PARTUUID_B@", p.PartUUIDB,
		"@STATE_LBA@", strconv.FormatInt(p.StateLBA, 10),
		"@COMMANDS@", p.Commands,
		"@SERIAL@", bit(p.Serial),
	).Replace(grubTemplate)), nil
}

// validate keeps anything out of the script that GRUB would take for more
// than a word.
func (p GrubParams) validate() error {
	if err := validateID(p.ID); err != nil {
		return err
	}
	if p.Scheme != SchemeMSDOS && p.Scheme != SchemeGPT {
		return fmt.Errorf("partition table %.20q: must be %s or %s", p.Scheme, SchemeMSDOS, SchemeGPT)
	}
	if p.Commands != CommandsLinux && p.Commands != CommandsEL7 {
		return fmt.Errorf("commands %.20q: must be %s or %s", p.Commands, CommandsLinux, CommandsEL7)
	}
	for _, n := range [...]int{p.BootPart, p.APart, p.BPart} {
		if n < 1 || n > maxPart {
			return fmt.Errorf("partition number %d", n)
		}
	}
	for _, uuid := range [...]string{p.PartUUIDA, p.PartUUIDB} {
		if uuid == "" || len(uuid) > 36 || strings.Trim(uuid, "0123456789abcdefABCDEF-") != "" {
			return fmt.Errorf("PARTUUID %.40q", uuid)
		}
	}
	if p.PartUUIDA == p.PartUUIDB {
		return fmt.Errorf("both slots have the PARTUUID %s", p.PartUUIDA)
	}
	if p.StateLBA <= 0 {
		return fmt.Errorf("state file at sector %d", p.StateLBA)
	}
	return nil
}
