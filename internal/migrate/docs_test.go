package migrate

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: docs/migration.md has every code of a refusal and every field.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	has := func(word string) {
		if !strings.Contains(string(doc), "`"+word+"`") {
			t.Errorf("docs/migration.md has no `%s`", word)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?:refuse|refused)\("([a-z0-9-]+)",`)
	found := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range code.FindAllSubmatch(b, -1) {
			found++
			has(string(m[1]))
		}
	}
	for _, w := range obstacleWords {
		has(w.code)
	}
	if found < 30 {
		t.Errorf("%d refusals found in the source", found)
	}
	seen := map[reflect.Type]bool{}
	var fields func(reflect.Type)
	fields = func(x reflect.Type) {
		for x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice {
			x = x.Elem()
		}
		if x.Kind() != reflect.Struct || seen[x] {
			return
		}
		seen[x] = true
		for i := range x.NumField() {
			name, _, _ := strings.Cut(x.Field(i).Tag.Get("json"), ",")
			has(name)
			fields(x.Field(i).Type)
		}
	}
	fields(reflect.TypeFor[Plan]())
}
