package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)

// TestFuzzTargetsHaveACorpus: CONTRIBUTING.md says that each has a committed
// one.
func TestFuzzTargetsHaveACorpus(t *testing.T) {
	targets := 0
	err := filepath.WalkDir(project, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "build" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range fuzzTarget.FindAllStringSubmatch(string(source), -1) {
			targets++
			corpus := filepath.Join(filepath.Dir(path), "testdata", "fuzz", m[1])
			if seeds, err := os.ReadDir(corpus); err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seed in %s", m[1], corpus)
			}
		}
		return nil
	})
	if err != nil || targets < 12 {
		t.Errorf("%d fuzz targets, %v", targets, err)
	}
	t.Logf("%d fuzz targets", targets)
}
