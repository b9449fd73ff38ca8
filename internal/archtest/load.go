package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A pkg is one directory of Go files, parsed but not type-checked.
type pkg struct {
	path  string // relative to the module, "cmd/slipway"
	name  string
	fset  *token.FileSet
	files []*ast.File // without tests
}

// load parses every package below root, the module's directory.
func load(root string) ([]*pkg, error) {
	var pkgs []*pkg
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if base := d.Name(); name != root && (base == "testdata" || base[0] == '.' || base[0] == '_') {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
			return filepath.SkipDir // a module of its own
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		p, err := loadDir(name, filepath.ToSlash(rel))
		if p != nil {
			pkgs = append(pkgs, p)
		}
		return err
	})
	return pkgs, err
}

// loadDir parses the non-test files of one directory; nil when there are none.
func loadDir(dir, rel string) (*pkg, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := &pkg{path: rel, fset: token.NewFileSet()}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parsing %s: %w", name, err)
		}
		p.name = f.Name.Name
		p.files = append(p.files, f)
	}
	if len(p.files) == 0 {
		return nil, nil
	}
	return p, nil
}

// imports returns each imported path once, with a place that imports it.
func (p *pkg) imports() map[string]token.Position {
	found := map[string]token.Position{}
	for _, f := range p.files {
		for _, spec := range f.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err == nil {
				found[name] = p.fset.Position(spec.Pos())
			}
		}
	}
	return found
}

// under reports whether name is one of trees or below one.
func under(name string, trees []string) bool {
	for _, tree := range trees {
		if name == tree || strings.HasPrefix(name, tree+"/") {
			return true
		}
	}
	return false
}

// short makes a position readable: the file below the package, and the line.
func (p *pkg) short(pos token.Position) string {
	return fmt.Sprintf("%s:%d", path.Join(p.path, filepath.Base(pos.Filename)), pos.Line)
}
