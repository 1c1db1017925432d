package migrate

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/preserve"
)

// Contact is how the old system's administrator reaches a migrator that is
// stuck: at the addresses that the old system had, with its host keys, by the
// keys that could log in as root.
type Contact struct {
	Parity         *Parity
	HostKeys       [][]byte // private, as OpenSSH stores them
	AuthorizedKeys []byte
}

// maxKeyFile bounds a file of keys.
const maxKeyFile = 1 << 20

// Contact reads them from what gather has set aside. It is to be called after
// a Run that ended as Stuck.
func (m *Migrator) Contact() (*Contact, error) {
	b, err := m.Store.Record(bootctl.RecordParity)
	if err != nil {
		return nil, err
	}
	c := &Contact{}
	if c.Parity, err = ParseParity(b); err != nil {
		return nil, err
	}
	stage, err := readStage(m.Disk, m.journal)
	if err != nil {
		return nil, err
	}
	old, err := m.readArchive(stage)
	if err != nil {
		return nil, err
	}
	keys, err := preserve.Find(old, "etc/ssh/ssh_host_*_key")
	if err != nil {
		return nil, err
	}
	for _, e := range keys {
		if e.Kind != preserve.KindFile {
			continue
		}
		key, err := preserve.ReadFile(old, e.Path, maxKeyFile)
		if err != nil {
			return nil, err
		}
		c.HostKeys = append(c.HostKeys, key)
	}
	if len(c.HostKeys) == 0 {
		return nil, fmt.Errorf("the old system had no SSH host key")
	}
	c.AuthorizedKeys, err = preserve.ReadFile(old, "root/.ssh/authorized_keys", maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("nobody could log in as root by a key: %w", err)
	}
	return c, nil
}

// Earlier is what the migrator said in its last turn that it ended.
func (m *Migrator) Earlier() string { return m.journal.Log }

// Status says in a few lines how the migration stands.
func (m *Migrator) Status() string {
	j := m.journal
	return fmt.Sprintf("%s %s: phase %s, %d turns, %d failures\n%s\n", j.Product, j.Version, j.Phase, j.Attempts, j.Failures, j.Reason)
}
