package main

import "github.com/abupdate/abupdate/internal/bundle"

// previousReport is the "previous" line of bundle create --json.
type previousReport struct {
	Type     string       `json:"type"` // always "previous"
	Bytes    int64        `json:"bytes"`
	New      int64        `json:"bytesNew"`
	Fetch    int64        `json:"bytesFetched"`
	Metadata int64        `json:"bytesMetadata"`
	Files    []fileReport `json:"files"`
}

type fileReport struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	New    int64  `json:"bytesNew"`
	Packed string `json:"compressedWith,omitempty"`
}

// shownFiles is how many files a person is shown; --json has all of them.
const shownFiles = 25

// reportPrevious says what the bundle costs a device that runs an older one,
// and which files are to blame.
func (a *app) reportPrevious(f createFlags) error {
	c, err := bundle.Compare(f.Previous, f.out, f.rootfs)
	if err != nil {
		return err
	}
	report := previousReport{Type: "previous", Bytes: c.Data, New: c.New, Fetch: c.Fetch, Metadata: c.Metadata, Files: []fileReport{}}
	for _, file := range c.Files {
		report.Files = append(report.Files, fileReport{file.Path, file.Size, file.New, file.Packed})
	}
	a.ui.Result(report, func() { a.printPrevious(f, c) })
	return nil
}

func (a *app) printPrevious(f createFlags, c *bundle.Comparison) {
	a.ui.Printf("Compared with %s: %s of %s are new; a device that has it fetches %s by ranges.\n",
		f.Previous, formatSize(c.New), formatSize(c.Data), formatSize(c.Fetch))
	a.ui.Printf("%10s  %10s  %s\n", "new", "of", "file")
	packed := ""
	rest, n := int64(0), 0
	for i, file := range c.Files {
		if packed == "" && file.Packed != "" {
			packed = file.Path
		}
		if i >= shownFiles {
			rest, n = rest+file.New, n+1
			continue
		}
		note := ""
		if file.Packed != "" {
			note = "  (compressed: " + file.Packed + ")"
		}
		a.ui.Printf("%10s  %10s  %s%s\n", formatSize(file.New), formatSize(file.Size), file.Path, note)
	}
	if n > 0 {
		a.ui.Printf("%10s  %10s  %d more files\n", formatSize(rest), "", n)
	}
	a.ui.Printf("%10s  %10s  the file system itself: inodes, their times, tables\n", formatSize(c.Metadata), "")
	if packed != "" {
		a.ui.Printf("Store %s uncompressed in the image: the bundle compresses it, and what did not change in it is found again.\n", packed)
	}
	if f.Layout == bundle.LayoutFixed && c.Fetch > 2*c.New {
		a.ui.Printf("Much of what is fetched is not new: --layout files cuts frames where files begin.\n")
	}
}
