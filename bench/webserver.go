package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// webServer serves one file with ranges on 127.0.0.1 and counts what it sends:
// what counts for a slow line is what left the server, not what was read of it.
type webServer struct {
	url            string
	sent, requests atomic.Int64
	server         *http.Server
}

func serve(path string) (*webServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &webServer{url: fmt.Sprintf("http://%s/bundle", listener.Addr())}
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		f, err := os.Open(path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, st.Size(), st.ModTime().UnixNano()))
		http.ServeContent(&counting{w, &s.sent}, r, "", st.ModTime(), f)
	})}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *webServer) close() { _ = s.server.Close() }

// reset begins a new count.
func (s *webServer) reset() { s.sent.Store(0); s.requests.Store(0) }

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}
