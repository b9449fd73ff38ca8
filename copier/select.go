package copier

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// An item is one thing that a pattern selected.
type item struct {
	path  string   // below the source root, all links resolved; with NoFollow but for the last
	base  string   // the name it gets in a destination directory
	typed string   // below the source root, as selected
	links []string // that lead to it
	pivot string   // with Parents: where the chain starts
	chain string   // with Parents: the directories to keep, "" for none
	ex    string   // what excludes are about
	info  rootfs.Info
}

// A match is what glob found: a path, and the part of it before the pivot.
type match struct{ path, pivot string }

// pivotMark stands for the pivot among the components of a pattern. No file has that name.
const pivotMark = "/"

// selected lists what a pattern selects. Go's path.Match syntax for each component, "**" for any number of
// them with Parents only; leading "/" and ".." stay at the root.
func (c *copying) selected(src *rootfs.Root, pattern string) ([]item, error) {
	parts := c.parts(pattern)
	if !wild(pattern) {
		return c.literal(src, parts, pattern)
	}
	if c.o.NoWildcard {
		return nil, fmt.Errorf("source %q: wildcards are not allowed", pattern)
	}
	for _, p := range parts {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("source %q: %w", pattern, err)
		}
	}
	g := globbing{src: src, deep: c.o.Parents, seen: map[visit]bool{}}
	if err := g.glob(match{path: "/"}, parts); err != nil {
		return nil, fmt.Errorf("source %q: %w", pattern, err)
	}
	items, hidden := []item{}, 0
	for _, m := range g.found {
		it, err := c.newItem(src, m)
		if err != nil {
			return nil, err
		}
		if c.hidden(it, true) {
			hidden++
			continue
		}
		items = append(items, it)
	}
	switch {
	case len(items) > 0 || (c.o.AllowEmptyWildcard && hidden == 0):
		return items, nil
	case hidden > 0:
		return nil, c.filtered(pattern, hidden)
	}
	return nil, fmt.Errorf("globs [%s] matched nothing: %w", pattern, unix.ENOENT)
}

// parts splits a pattern into its components, with the first "/./" as the mark of the pivot.
func (c *copying) parts(pattern string) []string {
	before, after, pivot := "", pattern, false
	if c.o.Parents {
		if before, after, pivot = strings.Cut(pattern, "/./"); !pivot {
			before, after = "", pattern
		}
	}
	var parts []string
	if pivot {
		parts = append(components(before), pivotMark)
	}
	parts = append(parts, components(after)...)
	if !c.o.Parents {
		return parts
	}
	deep := func(a, b string) bool { return a == "**" && b == "**" } // which finds everything once more
	return slices.CompactFunc(parts, deep)
}

func components(pattern string) []string {
	clean := path.Clean("/" + pattern)
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// filtered says that all that was found is excluded (exact.md, dockerfile.md §6.2).
func (c *copying) filtered(pattern string, n int) error {
	using := ""
	if c.o.Ignore != nil && c.o.Ignore.name != "" {
		using = " using " + c.o.Ignore.name
	}
	return fmt.Errorf("no items matching glob %q copied (%d filtered out%s): %w", pattern, n, using, unix.ENOENT)
}

func (c *copying) literal(src *rootfs.Root, parts []string, typed string) ([]item, error) {
	m := match{path: "/"}
	for _, p := range parts {
		if p == pivotMark {
			m.pivot = m.path
			continue
		}
		m.path = path.Join(m.path, unescape(p))
	}
	it, err := c.newItem(src, m)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("copier: stat: %q: %w", path.Join("/", typed), err)
	}
	if c.hidden(it, false) {
		return nil, c.filtered(typed, 1)
	}
	return []item{it}, nil
}

func (c *copying) newItem(src *rootfs.Root, m match) (item, error) {
	stat := src.Stat
	if c.o.NoFollow {
		stat = src.Lstat
	}
	info, err := stat(m.path)
	if err != nil {
		return item{}, err
	}
	it := item{base: path.Base(m.path), typed: m.path, info: info}
	it.path, it.links = resolve(src, m.path, !c.o.NoFollow)
	if c.o.Parents {
		it.ex = strings.TrimPrefix(strings.TrimPrefix(m.path, m.pivot), "/")
		if it.ex != "" { // nothing behind the pivot: the contents are meant
			it.pivot, it.chain = path.Join("/", m.pivot), path.Dir("/"+it.ex)
		}
	}
	return it, nil
}

// Resolve is a name with all links followed inside the root. It decides nothing about what may be opened.
func Resolve(root *rootfs.Root, name string) string {
	at, _ := resolve(root, name, true)
	return at
}

// resolve follows the links of a path by hand, as the ignore file is about them and about what they lead to. It decides nothing
// about what may be opened: whatever it returns is opened inside the root.
func resolve(src *rootfs.Root, name string, last bool) (at string, links []string) {
	at, rest := "/", strings.Split(trim(name), "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(at, part)
		if len(rest) == 0 && !last {
			return next, links
		}
		target, err := readlink(src, at, part)
		if err != nil || len(links) >= 40 {
			at = next
			continue
		}
		links = append(links, next)
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, links
}

func readlink(src *rootfs.Root, dir, name string) (string, error) {
	if name == ".." {
		return "", unix.EINVAL
	}
	d, err := src.Dir(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Readlink(name)
}

// hidden tells whether an item is not to be copied at all. Excludes are about what is in a directory that a source
// names, so they do not hide that itself; but what a wildcard matched, and a file, they do (dockerfile.md §19.3).
func (c *copying) hidden(it item, wildcard bool) bool {
	at := trim(it.path)
	if c.o.Ignore.at(at).out && !(it.info.IsDir() && c.o.Ignore.Within(at)) {
		return true
	}
	if slices.ContainsFunc(it.links, func(name string) bool { return c.o.Ignore.at(trim(name)).out }) {
		return true // what is not in the context leads nowhere
	}
	if c.o.Parents {
		return it.ex != "" && c.exclude.at(it.ex).out && !(it.info.IsDir() && c.exclude.Within(it.ex))
	}
	if it.info.IsDir() && !wildcard {
		return false
	}
	return it.base != "/" && (c.exclude.Excluded(it.base) || c.exclude.Excluded(trim(it.typed)))
}

func wild(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

func unescape(name string) string {
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) {
			i++
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// globbing is the state of one search for what a pattern matches. With "**" the same path can match in many ways, a number of them that
// grows with every further one; seen keeps each from being looked at twice.
type globbing struct {
	src   *rootfs.Root
	deep  bool // "**" is any number of components
	seen  map[visit]bool
	found []match
}

// A visit is a path with as many components of the pattern left.
type visit struct {
	at   match
	left int
}

// glob appends what parts match below the directory at, in byte order.
func (g *globbing) glob(at match, parts []string) error {
	if g.deep {
		v := visit{at, len(parts)}
		if g.seen[v] {
			return nil
		}
		g.seen[v] = true
	}
	if len(parts) == 0 {
		g.found = append(g.found, at)
		return nil
	}
	if parts[0] == pivotMark {
		return g.glob(match{at.path, at.path}, parts[1:])
	}
	if !wild(parts[0]) {
		next := match{path.Join(at.path, unescape(parts[0])), at.pivot}
		if _, err := g.src.Lstat(next.path); err != nil {
			return nil //nolint:nilerr // nothing there matches nothing
		}
		return g.glob(next, parts[1:])
	}
	d, err := g.src.Dir(at.path)
	if err != nil {
		return nil //nolint:nilerr // not a directory: nothing below matches
	}
	names, err := d.ReadDir()
	d.Close()
	if err != nil {
		return err
	}
	if g.deep && parts[0] == "**" {
		return g.any(at, names, parts)
	}
	for _, n := range names {
		ok, err := path.Match(parts[0], n)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := g.glob(match{path.Join(at.path, n), at.pivot}, parts[1:]); err != nil {
			return err
		}
	}
	return nil
}

// any matches "**": no component, or one and again. It does not follow links.
func (g *globbing) any(at match, names, parts []string) error {
	if len(parts) > 1 {
		if err := g.glob(at, parts[1:]); err != nil {
			return err
		}
	}
	for _, n := range names {
		next := match{path.Join(at.path, n), at.pivot}
		i, err := g.src.Lstat(next.path)
		if err != nil {
			continue
		}
		rest := parts
		switch {
		case len(parts) == 1: // a directory is copied with all it holds
			rest = nil
		case !i.IsDir():
			continue
		}
		if err := g.glob(next, rest); err != nil {
			return err
		}
	}
	return nil
}
