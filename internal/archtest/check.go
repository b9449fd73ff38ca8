package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// A check returns what is wrong with a package, one line a finding.
type check struct {
	name string
	run  func(*pkg) []string
}

// checks lists every rule, in the order of docs/architecture.md.
func checks() []check {
	return []check{
		{"imports follow the arrows", checkArrows},
		{"dependencies stay confined", checkConfinement},
		{"the early start is light", checkLight},
		{"packages and exported names are documented", checkDocs},
		{"no init functions", checkInit},
		{"no mutable package variables", checkState},
		{"only the command reads the environment and prints", checkTalk},
		{"forbidden names", checkBans},
	}
}

func checkArrows(p *pkg) (bad []string) {
	table := arrows()
	i := slices.IndexFunc(table, func(a arrow) bool { return under(p.path, []string{a.tree}) })
	if i < 0 {
		return []string{p.path + ": no arrow of the architecture begins here"}
	}
	for name, pos := range p.imports() {
		rel, ours := strings.CutPrefix(name, module+"/")
		if ours && !under(rel, table[i].may) {
			bad = append(bad, fmt.Sprintf("%s: %s may not import %s", p.short(pos), p.path, rel))
		}
	}
	return bad
}

func checkConfinement(p *pkg) (bad []string) {
	for name, pos := range p.imports() {
		table := confinements()
		i := slices.IndexFunc(table, func(c confinement) bool { return under(name, []string{c.dependency}) })
		if i >= 0 && !under(p.path, table[i].trees) {
			bad = append(bad, fmt.Sprintf("%s: %s belongs to %s", p.short(pos), name, strings.Join(table[i].trees, ", ")))
		}
	}
	return bad
}

func checkLight(p *pkg) (bad []string) {
	if !slices.Contains(light(), p.path) {
		return nil
	}
	for name, pos := range p.imports() {
		first, _, _ := strings.Cut(name, "/")
		rel, ours := strings.CutPrefix(name, module+"/")
		switch {
		case ours && under(rel, light()), !ours && !strings.Contains(first, "."), strings.HasPrefix(name, "golang.org/x/sys/"):
		default:
			bad = append(bad, fmt.Sprintf("%s: %s starts early and may not import %s", p.short(pos), p.path, name))
		}
	}
	return bad
}

func checkDocs(p *pkg) (bad []string) {
	documented := slices.ContainsFunc(p.files, func(f *ast.File) bool { return f.Doc != nil })
	if !documented {
		bad = append(bad, p.path+": no package comment")
	}
	if p.name == "main" {
		return bad
	}
	for _, f := range p.files {
		for _, decl := range f.Decls {
			for _, id := range undocumented(decl) {
				bad = append(bad, fmt.Sprintf("%s: %s has no comment", p.short(p.fset.Position(id.Pos())), id.Name))
			}
		}
	}
	return bad
}

// undocumented returns the exported names that decl declares without a comment.
// A comment above a group of values speaks for the whole group.
func undocumented(decl ast.Decl) (ids []*ast.Ident) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			ids = append(ids, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
					ids = append(ids, s.Name)
				}
			case *ast.ValueSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil {
					ids = append(ids, exported(s.Names)...)
				}
			}
		}
	}
	return ids
}

// wellKnown are methods whose meaning their interface defines.
func wellKnown(name string) bool {
	return slices.Contains([]string{"Error", "String", "Unwrap", "Set", "Type", "Len", "Less", "Swap", "MarshalJSON", "UnmarshalJSON"}, name)
}

// exportedReceiver reports whether d is a function, or a method that users of
// the package can see.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	if wellKnown(d.Name.Name) {
		return false
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if index, ok := t.(*ast.IndexExpr); ok {
		t = index.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}

func exported(ids []*ast.Ident) (out []*ast.Ident) {
	for _, id := range ids {
		if id.IsExported() {
			out = append(out, id)
		}
	}
	return out
}

func checkInit(p *pkg) (bad []string) {
	if under(p.path, []string{"internal/early"}) {
		return nil // the early start is what an init is for: it answers before the heavy packages start
	}
	for _, f := range p.files {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				bad = append(bad, p.short(p.fset.Position(d.Pos()))+": init")
			}
		}
	}
	return bad
}

func checkTalk(p *pkg) (bad []string) {
	if under(p.path, talkers()) {
		return nil
	}
	silent := []string{
		"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Setenv", "os.Unsetenv", "os.Clearenv",
		"os.Stdout", "os.Stderr", "fmt.Print", "fmt.Println", "fmt.Printf", "log.Print", "log.Printf", "log.Println",
		"log.Fatal", "log.Fatalf", "os.Exit",
	}
	return p.mentions(func(name string) string {
		if slices.Contains(silent, name) {
			return name + " belongs to cmd"
		}
		return ""
	})
}

func checkBans(p *pkg) []string {
	return p.mentions(func(name string) string {
		_, last, _ := strings.Cut(name, ".")
		for _, b := range bans() {
			if (name == b.name || last == b.name) && (b.except == "" || p.path != b.except) {
				return name + ": " + b.reason
			}
		}
		return ""
	})
}

// mentions applies judge to every selector (as "x.Name") and every key of a
// composite literal (as ".Name"), and returns what it complains of.
func (p *pkg) mentions(judge func(name string) string) (bad []string) {
	report := func(pos token.Pos, name string) {
		if complaint := judge(name); complaint != "" {
			bad = append(bad, p.short(p.fset.Position(pos))+": "+complaint)
		}
	}
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					report(n.Pos(), x.Name+"."+n.Sel.Name)
				} else {
					report(n.Pos(), "."+n.Sel.Name)
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok {
					report(n.Pos(), "."+key.Name)
				}
			}
			return true
		})
	}
	return bad
}
