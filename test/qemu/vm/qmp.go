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

	mu     sync.Mutex // held over a command and its answer
	events struct {
		sync.Mutex
		count map[string]int
	}
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
	q.events.count = make(map[string]int)
	go q.read()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := q.execute(ctx, "qmp_capabilities", nil)
	return q, err
}

// read sorts events from answers until the connection ends.
func (q *qmp) read() {
	defer close(q.answers)
	dec := json.NewDecoder(q.conn)
	for {
		var m qmpMessage
		if dec.Decode(&m) != nil {
			return
		}
		switch {
		case m.Greeting != nil:
		case m.Event != "":
			q.events.Lock()
			q.events.count[m.Event]++
			q.events.Unlock()
		default:
			q.answers <- m
		}
	}
}

// count returns how many events of a name have come.
func (q *qmp) count(event string) int {
	q.events.Lock()
	defer q.events.Unlock()
	return q.events.count[event]
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
