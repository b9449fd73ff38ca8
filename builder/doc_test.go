package builder

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFilesAreListed: the package's comment lists its files, each one that is there and no other.
func TestFilesAreListed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := []string{"doc"}
	for _, line := range regexp.MustCompile(`(?m)^//   - .*: (.*)$`).FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, strings.Split(line[1], ", ")...)
	}
	there, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	there = slices.DeleteFunc(there, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	for i, name := range there {
		there[i] = strings.TrimSuffix(name, ".go")
	}
	slices.Sort(listed)
	slices.Sort(there)
	if !slices.Equal(listed, there) {
		t.Errorf("doc.go lists\n%q\nand the files are\n%q", listed, there)
	}
}
