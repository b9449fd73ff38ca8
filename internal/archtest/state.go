package archtest

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkState finds package variables that can change: one that is assigned to,
// whose element or field is, whose address is taken, or whose type exists to be
// changed (locks, atomics). Tables and sentinels that nothing writes are values.
func checkState(p *pkg) (bad []string) {
	vars := p.variables()
	for name, spec := range vars {
		if holdsState(spec) {
			bad = append(bad, p.short(p.fset.Position(spec.Pos()))+": "+name+" is a lock or an atomic: state")
		}
	}
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, target := range written(n) {
				id := root(target)
				if id != nil && isVariable(id, vars) {
					bad = append(bad, p.short(p.fset.Position(id.Pos()))+": package variable "+id.Name+" is changed here")
				}
			}
			return true
		})
	}
	return bad
}

// variables returns the package's variables by name.
func (p *pkg) variables() map[string]*ast.ValueSpec {
	vars := map[string]*ast.ValueSpec{}
	for _, f := range p.files {
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if name.Name != "_" {
						vars[name.Name] = spec.(*ast.ValueSpec)
					}
				}
			}
		}
	}
	return vars
}

// holdsState reports whether a variable's written type is a lock or an atomic.
func holdsState(spec *ast.ValueSpec) bool {
	sel, ok := spec.Type.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && (x.Name == "sync" || x.Name == "atomic" || strings.HasSuffix(x.Name, "Mutex"))
}

// written returns the expressions that n changes.
func written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the identifier that an element, field or dereference starts from.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// isVariable reports whether id means a package variable: either declared by its
// spec in the same file, or not resolved in this file at all.
func isVariable(id *ast.Ident, vars map[string]*ast.ValueSpec) bool {
	spec, ok := vars[id.Name]
	if !ok {
		return false
	}
	return id.Obj == nil || id.Obj.Decl == spec
}
