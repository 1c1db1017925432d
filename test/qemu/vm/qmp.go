package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp is a connection to QEMU's machine protocol (docs/interop/qmp-spec).
type qmp struct {
	conn    net.Conn
	answers chan qmpMessage

	mu sync.Mutex // held over a command and its answer
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   any             `json:"return"`
	Event    string          `json:"event"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

func newQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, answers: make(chan qmpMessage, 16)}
	go q.read()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := q.execute(ctx, "qmp_capabilities", nil)
	return q, err
}

// read picks the answers out of what QEMU says, until the connection ends.
func (q *qmp) read() {
	defer close(q.answers)
	dec := json.NewDecoder(q.conn)
	for {
		var m qmpMessage
		if dec.Decode(&m) != nil {
			return
		}
		switch {
		case m.Greeting != nil, m.Event != "":
		default:
			q.answers <- m
		}
	}
}

func (q *qmp) execute(ctx context.Context, command string, arguments any) (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case m, ok := <-q.answers:
		if !ok {
			return nil, fmt.Errorf("qmp %s: %w", command, errors.New("qemu has ended"))
		}
		if m.Error != nil {
			return nil, fmt.Errorf("qmp %s: %s: %s", command, m.Error.Class, m.Error.Desc)
		}
		return m.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
}
