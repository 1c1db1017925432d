package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/cavaliergopher/grab/v3"
)

// errNoRanges says that a server sent the whole file for a range.
var errNoRanges = errors.New("the server has no ranges")

// grab lets the grab library append to the partial file, which has have bytes.
//
// By itself grab 3.0.1 resumes without If-Range, checks neither the status nor
// Content-Range, and takes any end of the connection for the end of the file:
// a file that changed meanwhile is silently mixed. So it never talks to the
// server here. Its HTTP client is grabClient, whose answers come from
// httpSource.fetch with all its checks, and BeforeCopy holds grab's idea of
// the offset against the server's.
func (d *download) grab(ctx context.Context, have int64) error {
	client := &grabClient{download: d, have: have}
	// The address is only a label for grab; the real one may hold a password.
	req, err := grab.NewRequest(d.part, "http://bundle.invalid/")
	if err != nil {
		return err
	}
	req.Size = d.size
	req.NoResume = !d.resume
	req.NoCreateDirectories = true
	req.IgnoreRemoteTime = true
	req.BeforeCopy = func(r *grab.Response) error {
		if r.BytesComplete() != client.have {
			return fmt.Errorf("internal error: grab continues at byte %d, the server at %d", r.BytesComplete(), client.have)
		}
		return nil
	}
	g := &grab.Client{HTTPClient: client, UserAgent: d.src.conn.opts.UserAgent, BufferSize: 256 << 10}
	return g.Do(req.WithContext(ctx)).Err()
}

// grabClient answers grab's requests.
type grabClient struct {
	download *download
	have     int64 // where the body begins
}

// Do implements grab.HTTPClient.
func (c *grabClient) Do(req *http.Request) (*http.Response, error) {
	d := c.download
	resp := &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Accept-Ranges": {"bytes"}},
		ContentLength: d.size,
		Body:          http.NoBody,
		Request:       req,
	}
	if req.Method == http.MethodHead {
		return resp, nil // probe knows
	}
	want := ""
	if d.resume {
		want = fmt.Sprintf("bytes=%d-", c.have)
	}
	if got := req.Header.Get("Range"); got != want {
		return nil, fmt.Errorf("internal error: grab asks for range %q, not %q", got, want)
	}
	b, err := d.src.fetch(req.Context(), c.have, -1)
	if err != nil {
		return nil, err
	}
	if b.pos != c.have {
		b.Close()
		return nil, errNoRanges
	}
	resp.ContentLength = d.size - c.have
	resp.Body = &grabBody{ctx: req.Context(), download: d, body: b}
	return resp, nil
}

// grabBody is a body that counts and keeps to the rate limit.
type grabBody struct {
	ctx      context.Context // of the request
	download *download
	body     *body
}

func (g *grabBody) Read(p []byte) (int, error) {
	n, err := g.download.src.read(g.ctx, g.body, p)
	if report := g.download.src.conn.opts.Progress; report != nil && n > 0 {
		report(g.body.pos, g.download.size)
	}
	return n, err
}

func (g *grabBody) Close() error { return g.body.Close() }

var _ io.ReadCloser = (*grabBody)(nil)
