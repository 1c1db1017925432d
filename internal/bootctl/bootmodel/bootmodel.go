// Package bootmodel is grub.cfg in Go: it tells, for tests, what GRUB would
// boot from a disk, and changes the boot state as GRUB would.
//
// Invariant: what it says is what real GRUB does with the grub.cfg of package
// bootctl; a test in QEMU compares the two. What GRUB tries in which order it
// takes from bootctl.State.Order, so there is one such list in Go. Start with
// Machine.Boot.
package bootmodel

import (
	"fmt"
	"maps"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// Files is the condition of a system's kernel and initramfs.
type Files uint8

// The conditions. The zero value means that nothing is there.
const (
	Missing      Files = iota // vmlinuz or initramfs is missing or empty
	BadKernel                 // the linux command refuses the kernel
	BadInitramfs              // the initrd command fails after linux succeeded
	Loadable
)

// Machine is a computer with one disk.
type Machine struct {
	Dev    blockdev.Device
	Layout bootctl.Layout
	// Files tells the condition of a system's files.
	Files func(bootctl.System) Files
}

// Outcome is how a GRUB session ended.
type Outcome struct {
	// System was started; 0 means that GRUB resets the machine and begins
	// anew, either because nothing boots or because Marked says so.
	System bootctl.System
	Why    bootctl.Why
	// Seq is what ab.seq= says.
	Seq string
	// Args are the kernel arguments of the args block.
	Args bootctl.Args
	// Marked was loaded in part and marked bad: GRUB had to reset.
	Marked bootctl.System
}

// String describes the outcome for a failed test.
func (o Outcome) String() string {
	switch {
	case o.Marked != 0:
		return fmt.Sprintf("%v marked bad, reset", o.Marked)
	case o.System == 0:
		return "nothing boots, reset"
	}
	return fmt.Sprintf("%v (%v)", o.System, o.Why)
}

// Cmdline returns the words that grub.cfg puts on the kernel command line
// about itself, and the args block's.
func (o Outcome) Cmdline(l bootctl.Layout) string {
	return fmt.Sprintf("ab.slot=%v ab.why=%v ab.seq=%s ab.state=%d %s %s",
		o.System, o.Why, o.Seq, l.State.Off/blockdev.SectorSize, o.Args.Image, o.Args.Device)
}

// Boot runs one GRUB session, from power-on to the kernel or a reset.
func (m Machine) Boot() Outcome {
	s := session{Machine: m}
	s.read()
	order, seq := bootctl.StaticOrder(), "0"
	if s.valid {
		order, seq = s.state().Order(), s.vars["ab_seq"]
	}
	for _, c := range order {
		args, complete := s.args(c.System)
		files := m.Files(c.System)
		if !complete || files == Missing {
			continue
		}
		if c.Counted && !s.spend(c.Slot, s.triesAtStart[c.Slot]) {
			continue
		}
		if c.Why == bootctl.WhyLastResort {
			s.makePrimary(c.Slot)
		}
		switch files {
		case BadKernel, Missing:
		case BadInitramfs:
			s.markBad(c)
			return Outcome{Marked: c.System}
		case Loadable:
			return Outcome{System: c.System, Why: c.Why, Seq: seq, Args: args}
		}
	}
	return Outcome{}
}

// BootFully runs sessions until a system is started. It gives up, with an
// Outcome whose System is 0, when GRUB would go on resetting.
func (m Machine) BootFully() Outcome {
	var o Outcome
	for range 8 { // each reset marks one of four systems bad, or is for ever
		if o = m.Boot(); o.System != 0 {
			break
		}
	}
	return o
}

// session is one run of grub.cfg. Its methods are the functions there.
type session struct {
	Machine
	vars         map[string]string
	valid        bool // ab_env
	both         bool // ab_both
	triesAtStart map[slot.ID]string
}

var envNames = []string{
	"ab_fmt", "ab_seq", "ab_pri", "ab_a_ok", "ab_a_try",
	"ab_b_ok", "ab_b_try", "ab_b_kind", "ab_mig", "ab_end",
}

// saved is what ab_save writes: all but the frame.
var saved = envNames[1 : len(envNames)-1]

// load is ab_load.
func (s *session) load(i int) bool {
	s.vars = make(map[string]string)
	block := make([]byte, bootctl.EnvSize)
	if _, err := s.Dev.ReadAt(block, s.Layout.Env[i].Off); err != nil {
		return false
	}
	s.vars = loadEnv(block, envNames)
	v := s.vars
	ok := v["ab_fmt"] == "1" && v["ab_end"] == "1" && v["ab_seq"] != "" &&
		(v["ab_pri"] == "a" || v["ab_pri"] == "b") &&
		(v["ab_b_kind"] == "slot" || v["ab_b_kind"] == "old")
	for _, name := range [...]string{"ab_a_ok", "ab_b_ok", "ab_mig"} {
		ok = ok && (v[name] == "0" || v[name] == "1")
	}
	for _, name := range [...]string{"ab_a_try", "ab_b_try"} {
		ok = ok && len(v[name]) == 1 && v[name] >= "0" && v[name] <= "9"
	}
	return ok
}

// read is ab_read.
func (s *session) read() {
	s.both = s.load(1)
	if s.valid = s.load(0); !s.valid {
		s.both, s.valid = false, s.both && s.load(1)
	}
	if s.triesAtStart == nil {
		s.triesAtStart = map[slot.ID]string{slot.A: s.vars["ab_a_try"], slot.B: s.vars["ab_b_try"]}
	}
}

// state is the boot state in bootctl's words; the sequence number is not
// looked at.
func (s *session) state() bootctl.State {
	v := s.vars
	st := bootctl.State{
		Seq:     1,
		Primary: slot.A,
		A:       bootctl.Flags{OK: v["ab_a_ok"] == "1", Tries: int(v["ab_a_try"][0] - '0')},
		B:       bootctl.Flags{OK: v["ab_b_ok"] == "1", Tries: int(v["ab_b_try"][0] - '0')},
		BKind:   bootctl.KindSlot,
		Migrate: v["ab_mig"] == "1",
	}
	if v["ab_pri"] == "b" {
		st.Primary = slot.B
	}
	if v["ab_b_kind"] == "old" {
		st.BKind = bootctl.KindOld
	}
	return st
}

// save is ab_save: one copy, then the other, each a write of its own that a
// power cut may come before. GRUB flushes nothing.
func (s *session) save() {
	if !s.valid {
		return
	}
	for i := range s.Layout.Env {
		s.saveCopy(i)
	}
}

func (s *session) saveCopy(i int) {
	off := s.Layout.Env[i].Off
	block := make([]byte, bootctl.EnvSize)
	if _, err := s.Dev.ReadAt(block, off); err != nil || string(block[:len(signature)]) != signature {
		return
	}
	for _, name := range saved {
		if !setEnv(block, name, s.vars[name]) {
			return
		}
	}
	// Like GRUB, this goes on after an error: spend looks whether it was kept.
	_, _ = s.Dev.WriteAt(block, off)
}

// spend is ab_spend.
func (s *session) spend(id slot.ID, tries string) bool {
	if !s.both {
		return false
	}
	want := string(tries[0] - 1)
	s.vars["ab_"+id.String()+"_try"] = want
	s.save()
	s.read()
	return s.valid && s.vars["ab_"+id.String()+"_try"] == want
}

// makePrimary is the first half of ab_last.
func (s *session) makePrimary(id slot.ID) {
	if s.valid && id.Valid() && s.vars["ab_pri"] != id.String() {
		s.vars["ab_pri"] = id.String()
		s.save()
	}
}

// markBad is the second half of ab_start.
func (s *session) markBad(c bootctl.Choice) {
	switch {
	case c.System == bootctl.SystemMigrator && s.vars["ab_mig"] == "1":
		s.vars["ab_mig"] = "0"
	case c.Slot.Valid():
		maps.Copy(s.vars, map[string]string{"ab_" + c.Slot.String() + "_ok": "0", "ab_" + c.Slot.String() + "_try": "0"})
	}
	s.save()
}

// args is the first half of ab_ready.
func (s *session) args(sys bootctl.System) (bootctl.Args, bool) {
	for i, other := range bootctl.Systems {
		if other != sys {
			continue
		}
		block := make([]byte, bootctl.ArgsSize)
		if _, err := s.Dev.ReadAt(block, s.Layout.Args[i].Off); err != nil {
			return bootctl.Args{}, false
		}
		v := loadEnv(block, []string{"ab_fmt", "ab_args", "ab_image_args", "ab_end"})
		return bootctl.Args{Device: v["ab_args"], Image: v["ab_image_args"]}, v["ab_fmt"] == "1" && v["ab_end"] == "1"
	}
	return bootctl.Args{}, false
}
