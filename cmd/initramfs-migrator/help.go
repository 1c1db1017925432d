package main

import (
	"time"

	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/migrate/rescue"
)

// help waits for somebody who can say what is wrong, or for better luck.
type help struct {
	log   *migrate.Log
	open  bool
	again chan struct{} // somebody wants it tried again at once
}

// wait returns when it is time to try again.
func (h *help) wait(m *migrate.Migrator) {
	h.log.Printf("the old system is gone, and the new one does not hold: trying again every %v", retry)
	if !h.open {
		h.again = make(chan struct{}, 1)
		if err := h.listen(m); err != nil {
			h.log.Printf("nobody can log in: %v", err)
		}
	}
	select {
	case <-h.again:
		h.log.Printf("trying again, by request")
	case <-time.After(retry):
	}
}

// listen brings the old system's addresses up and answers by SSH.
func (h *help) listen(m *migrate.Migrator) error {
	c, err := m.Contact()
	if err != nil {
		return err
	}
	config, err := rescue.Config(c.HostKeys, c.AuthorizedKeys)
	if err != nil {
		return err
	}
	addresses, err := rescue.Up(c.Parity)
	if err != nil {
		h.log.Printf("network: %v", err)
	}
	if len(addresses) == 0 {
		return nil
	}
	listeners, err := rescue.Listen(c.Parity.SSHPorts)
	if err != nil {
		return err
	}
	h.open = true
	// Of before: nobody may look at a run that is under way.
	status, earlier := m.Status(), m.Earlier()
	if earlier != "" {
		earlier += "\n"
	}
	for _, l := range listeners {
		h.log.Printf("ssh root@%v (%v): status, log, retry", addresses[0].Addr(), l.Addr())
		go func() { h.log.Printf("ssh: %v", rescue.Serve(l, config, h.answer(status, earlier))) }()
	}
	return nil
}

func (h *help) answer(status, earlier string) rescue.Answer {
	return func(command string) (string, uint32) {
		switch command {
		case "status":
			return status, 0
		case "log":
			return earlier + h.log.String(), 0
		case "retry":
			select {
			case h.again <- struct{}{}:
			default: // it is being asked for already
			}
			return "trying again\n", 0
		}
		return "This device is in the middle of a migration: the old system is gone, and the new one has failed.\n" +
			"ssh root@… status    how it stands, and why\n" +
			"ssh root@… log       what the migrator said, its last turn first\n" +
			"ssh root@… retry     write the new system again, and try it\n", 2
	}
}
