package bootctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// Non-volatile, at boot time, at run time.
	efiAttributes  = 1 | 2 | 4
	maxEFIVariable = 64 << 10
)

func readEFIVariable(dir, name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("%w: reading a variable of the firmware: %w", ErrBootState, err)
	}
	if len(b) < 4 || len(b) > maxEFIVariable {
		return nil, fmt.Errorf("%w: the firmware's variable %s has %d bytes", ErrBootState, name, len(b))
	}
	return b[4:], nil
}

// writeEFIVariable writes a variable, unless it is right already, and reads it
// back: firmware has been seen to forget.
func writeEFIVariable(dir, name string, value []byte) error {
	if have, err := readEFIVariable(dir, name); err == nil && string(have) == string(value) {
		return nil
	}
	path := filepath.Join(dir, name)
	makeMutable(path)
	// One write is one call of the firmware's SetVariable, whole or not at all.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("%w: writing the firmware's variable %s: %w", ErrBootState, name, err)
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint32(nil, efiAttributes), value...))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: writing the firmware's variable %s: %w", ErrBootState, name, err)
	}
	have, err := readEFIVariable(dir, name)
	if err != nil {
		return err
	}
	if string(have) != string(value) {
		return fmt.Errorf("%w: the firmware did not keep the variable %s", ErrBootState, name)
	}
	return nil
}

// makeMutable takes off the flag that newer kernels protect variables with; an
// error shows when the variable is written.
func makeMutable(path string) {
	const immutable = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&immutable != 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable)
	}
}
