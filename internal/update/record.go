package update

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// RecordState says what the state file claims about the content of a slot.
// It never says what may boot: that is the boot state's alone.
type RecordState uint8

// The states of a slot's record.
const (
	// RecordEmpty: nothing is claimed. Frames that happen to be there may
	// still be found and kept by a later apply of the same bundle.
	RecordEmpty RecordState = iota + 1
	// RecordWriting: an apply is under way or was interrupted.
	RecordWriting
	// RecordWritten: the whole image was read back against the signed hashes.
	RecordWritten
	// RecordFailed: the slot was booted and did not hold.
	RecordFailed
)

var recordStateNames = map[RecordState]string{RecordEmpty: "empty", RecordWriting: "writing", RecordWritten: "written", RecordFailed: "failed"}

// String returns the state's name on disk.
func (s RecordState) String() string {
	if name, ok := recordStateNames[s]; ok {
		return name
	}
	return fmt.Sprintf("update.RecordState(%d)", uint8(s))
}

// ParseRecordState reads a state's name on disk.
func ParseRecordState(name string) (RecordState, error) {
	for s, n := range recordStateNames {
		if n == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("slot record state %q is unknown", name)
}

// SlotRecord is what the state file keeps about a slot.
type SlotRecord struct {
	State RecordState
	// Committed: this content has been booted and found good.
	Committed bool
	// NoPreserve: the configuration is not carried into this slot, by request.
	NoPreserve bool
	// InstalledAt is the wall clock, in seconds since 1970, when the content
	// was read back; for people only, as the clock may be wrong. 0: unknown.
	InstalledAt int64
	// Envelope is the bundle's manifest.dsse.json as verified.
	Envelope []byte
	// Keyrings is the bundle's keyrings.json: the device's trust moves to the
	// newest of them when this slot is committed.
	Keyrings []byte
}

// recordHeader is the first line of an encoded SlotRecord. The envelope and
// the keyrings follow as they are, so that a manifest of the greatest size
// still fits the record.
type recordHeader struct {
	Format         int    `json:"format"`
	State          string `json:"state"`
	Committed      bool   `json:"committed"`
	NoPreserve     bool   `json:"noPreserve,omitempty"`
	InstalledAt    int64  `json:"installedAt"`
	EnvelopeLength int    `json:"envelopeLength"`
	KeyringsLength int    `json:"keyringsLength"`
}

// Encode returns the record as it is stored.
func (r *SlotRecord) Encode() ([]byte, error) {
	if _, err := ParseRecordState(r.State.String()); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	head, err := json.Marshal(recordHeader{
		Format: 1, State: r.State.String(), Committed: r.Committed, NoPreserve: r.NoPreserve, InstalledAt: r.InstalledAt,
		EnvelopeLength: len(r.Envelope), KeyringsLength: len(r.Keyrings),
	})
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{head, []byte("\n"), r.Envelope, r.Keyrings}, nil), nil
}

// ParseSlotRecord reads what Encode wrote.
func ParseSlotRecord(b []byte) (*SlotRecord, error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, errors.New("slot record: no header line")
	}
	var h recordHeader
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return nil, fmt.Errorf("slot record: header: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("slot record: more than one value in the header line")
	}
	if h.Format != 1 {
		return nil, fmt.Errorf("slot record: format %d is unknown", h.Format)
	}
	state, err := ParseRecordState(h.State)
	if err != nil {
		return nil, err
	}
	if h.EnvelopeLength < 0 || h.KeyringsLength < 0 || h.EnvelopeLength > len(rest) || h.KeyringsLength != len(rest)-h.EnvelopeLength {
		return nil, fmt.Errorf("slot record: lengths %d + %d do not fit its %d bytes", h.EnvelopeLength, h.KeyringsLength, len(rest))
	}
	return &SlotRecord{
		State: state, Committed: h.Committed, NoPreserve: h.NoPreserve, InstalledAt: h.InstalledAt,
		Envelope: bytes.Clone(rest[:h.EnvelopeLength]), Keyrings: bytes.Clone(rest[h.EnvelopeLength:]),
	}, nil
}

// DeviceRecord is the identity given to a device at provisioning: what a
// bundle must be made for.
type DeviceRecord struct {
	Format     int    `json:"format"` // 1
	Product    string `json:"product"`
	Compatible string `json:"compatible"`
	// GrubVersion is the installed GRUB, which no update replaces: it must be
	// able to read the file system of a new image.
	GrubVersion string `json:"grubVersion,omitempty"`
}

// Encode returns the record as it is stored.
func (r DeviceRecord) Encode() ([]byte, error) {
	r.Format = 1
	return json.Marshal(r)
}

// ParseDeviceRecord reads what Encode wrote.
func ParseDeviceRecord(b []byte) (DeviceRecord, error) {
	var r DeviceRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return DeviceRecord{}, fmt.Errorf("device record: %w", err)
	}
	if r.Format != 1 || r.Product == "" || r.Compatible == "" {
		return DeviceRecord{}, fmt.Errorf("device record: format %d, product %q, compatible %q: incomplete or unknown", r.Format, r.Product, r.Compatible)
	}
	return r, nil
}
