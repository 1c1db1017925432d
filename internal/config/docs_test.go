package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The reference must not fall behind the code.
func TestReferenceIsComplete(t *testing.T) {
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	example := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(doc)
	if example == nil {
		t.Fatal("docs/config.md has no example")
	}
	c, err := Parse("docs/config.md", []byte(example[1]))
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("the example is not the default: %+v, %v", c, err)
	}
	for section, keys := range schema {
		_, part, found := strings.Cut(doc, "\n## ["+section+"]\n")
		if !found {
			t.Errorf("no section [%s]", section)
			continue
		}
		part, _, _ = strings.Cut(part, "\n## ")
		_, inExample, _ := strings.Cut(example[1], "["+section+"]\n")
		inExample, _, _ = strings.Cut(inExample, "\n[")
		for key := range keys {
			if !regexp.MustCompile("(?m)^\\| .*`" + key + "`").MatchString(part) {
				t.Errorf("[%s] %s has no row", section, key)
			}
			if !regexp.MustCompile("(?m)^" + key + " *=").MatchString(inExample) {
				t.Errorf("[%s] %s is not in the example", section, key)
			}
		}
	}
}
