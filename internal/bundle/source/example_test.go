package source_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

func ExampleOpen() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"version 1"`) // without one, no resume
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte("head, frame 1, frame 2")))
	}))
	defer server.Close()

	ctx := context.Background()
	src, err := source.Open(ctx, server.URL+"/gateway.abu", nil, source.Options{LimitRate: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer src.Close()
	stream, err := src.Open(ctx, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()

	head := make([]byte, len("head, "))
	if _, err := io.ReadFull(stream, head); err != nil {
		fmt.Println(err)
		return
	}
	// Frame 1 is on the disk already: do not fetch it.
	if err := stream.Discard(int64(len("frame 1, "))); err != nil {
		fmt.Println(err)
		return
	}
	rest, err := io.ReadAll(stream)
	fmt.Printf("%s%s %v\n", head, rest, err)
	// Output: head, frame 2 <nil>
}
