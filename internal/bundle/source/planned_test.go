package source_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

// readPlanned reads the ranges of a plan, one after the other.
func readPlanned(t *testing.T, src source.Source, plan []source.Range) ([]byte, error) {
	t.Helper()
	st, err := src.(source.Ranger).OpenRanges(context.Background(), plan)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var got []byte
	at := plan[0].Off
	for _, r := range plan {
		if err := st.Discard(r.Off - at); err != nil {
			return got, err
		}
		b := make([]byte, r.End-r.Off)
		n, err := io.ReadFull(st, b)
		got = append(got, b[:n]...)
		if err != nil {
			return got, err
		}
		at = r.End
	}
	return got, nil
}

func openPlanned(t *testing.T, s *server) source.Source {
	t.Helper()
	src, err := source.Open(context.Background(), s.URL, nil, fast())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func pieces(data []byte, plan []source.Range) []byte {
	var want []byte
	for _, r := range plan {
		want = append(want, data[r.Off:r.End]...)
	}
	return want
}

var somePlan = []source.Range{{Off: 0, End: 1000}, {Off: 5000, End: 150000}, {Off: 150001, End: 150002}, {Off: 300000, End: 400000}}

// TestPlanned: one request for each range, and nothing else is sent.
func TestPlanned(t *testing.T) {
	s := newServer(t, content(400000, 1))
	src := openPlanned(t, s)
	got, err := readPlanned(t, src, somePlan)
	want := pieces(s.data, somePlan)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	s.Close() // the last answer is counted when it has been sent, which may be after it was read
	if n := s.requests.Load(); n != 4 || s.sent.Load() != int64(len(want)) || src.Fetched() != int64(len(want)) {
		t.Errorf("%d requests, %d sent, %d fetched; want 4 and %d", n, s.sent.Load(), src.Fetched(), len(want))
	}
	if !src.(source.Ranger).HasRanges() {
		t.Error("a server with ranges is not seen as one")
	}
}

// TestPlannedGap: what is passed over within a range comes with it.
func TestPlannedGap(t *testing.T) {
	s := newServer(t, content(400000, 7))
	src := openPlanned(t, s)
	st, err := src.(source.Ranger).OpenRanges(context.Background(), []source.Range{{Off: 1000, End: 201000}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for at := 1000; at < 201000; at += 20000 {
		b := make([]byte, 5000)
		if _, err := io.ReadFull(st, b); err != nil || !bytes.Equal(b, s.data[at:at+5000]) {
			t.Fatalf("at %d: %v", at, err)
		}
		if err := st.Discard(15000); err != nil {
			t.Fatal(err)
		}
	}
	if s.requests.Load() != 1 || s.sent.Load() > 200000 {
		t.Errorf("%d requests, %d bytes sent", s.requests.Load(), s.sent.Load())
	}
}

// TestPlannedWithoutRanges: a server that sends the whole file is read past
// the gaps, with one request.
func TestPlannedWithoutRanges(t *testing.T) {
	s := newServer(t, content(400000, 2))
	s.noRanges = true
	src := openPlanned(t, s)
	got, err := readPlanned(t, src, somePlan)
	if err != nil || !bytes.Equal(got, pieces(s.data, somePlan)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if n := s.requests.Load(); n != 1 || src.(source.Ranger).HasRanges() {
		t.Errorf("%d requests, ranges %v", n, src.(source.Ranger).HasRanges())
	}
}

// TestPlannedCut: a range whose connection breaks is asked for again from
// where it broke.
func TestPlannedCut(t *testing.T) {
	s := newServer(t, content(400000, 3))
	s.cut = 60000
	src := openPlanned(t, s)
	got, err := readPlanned(t, src, somePlan)
	if err != nil || !bytes.Equal(got, pieces(s.data, somePlan)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestPlannedChange: another file between two ranges ends the stream.
func TestPlannedChange(t *testing.T) {
	s := newServer(t, content(400000, 4))
	src := openPlanned(t, s)
	if _, err := readPlanned(t, src, somePlan[:1]); err != nil {
		t.Fatal(err)
	}
	s.swap(content(400000, 5), `"v2"`)
	if _, err := readPlanned(t, src, somePlan[1:]); !errors.Is(err, source.ErrDownload) {
		t.Fatalf("after the change: %v", err)
	}
}

// TestReplan: a plan made when a part has been read.
func TestReplan(t *testing.T) {
	s := newServer(t, content(400000, 6))
	src := openPlanned(t, s)
	st, err := src.(source.Ranger).OpenRanges(context.Background(), []source.Range{{Off: 0, End: 100}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b := make([]byte, 100)
	if _, err := io.ReadFull(st, b); err != nil {
		t.Fatal(err)
	}
	st.Plan([]source.Range{{Off: 100, End: 200}, {Off: 399000, End: 400000}})
	if _, err := io.ReadFull(st, b); err != nil || !bytes.Equal(b, s.data[100:200]) {
		t.Fatal(err)
	}
	if err := st.Discard(399000 - 200); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(rest, s.data[399000:]) {
		t.Fatalf("%d bytes, %v", len(rest), err)
	}
	s.Close() // as in TestPlanned
	if s.sent.Load() != 1200 {
		t.Errorf("%d bytes sent, want 1200", s.sent.Load())
	}
}

// TestPlannedHeadWithoutValidator: who asks for the head of a file gets all of
// it from a server that has ranges, and nothing to tell two files apart by.
func TestPlannedHeadWithoutValidator(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	srv.etag = ""
	src := open(t, srv.URL, fast())
	st, err := src.(source.Ranger).OpenRanges(context.Background(), []source.Range{{Off: 0, End: 16 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	got, err := io.ReadAll(st)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes are not the file's %d", len(got), len(data))
	}
	if n := srv.requests.Load(); n != 2 || src.(source.Ranger).HasRanges() {
		t.Errorf("%d requests; ranges: %v", n, src.(source.Ranger).HasRanges())
	}
}
