package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameRealTests: each test that the pages on reliability and threats
// name is there, so that no row of theirs outlives its proof; and each attack
// that is tried has its row.
func TestDocsNameRealTests(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, prefix := range map[string]string{"threat-model.md": "TestAttack_", "reliability.md": ""} {
		b, err := os.ReadFile(filepath.Join(root, "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test\\w+)`")
		if prefix != "" {
			named = regexp.MustCompile("`([A-Z][A-Za-z0-9]+)`")
		}
		rows := make(map[string]bool)
		for _, m := range named.FindAllSubmatch(b, -1) {
			name := prefix + string(m[1])
			if rows[name] = true; !tests[name] {
				t.Errorf("docs/%s names %s, and there is no such test", page, name)
			}
		}
		for name := range tests {
			if prefix != "" && strings.HasPrefix(name, prefix) && !rows[name] {
				t.Errorf("docs/%s does not name %s", page, name)
			}
		}
	}
}
