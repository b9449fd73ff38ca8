package copier

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// An item is one thing that a pattern selected: its path below the source root, and the name it is
// copied under when the destination is a directory.
type item struct {
	path, base string
	chain      string // with Parents: the directories to keep, "" for none
	info       rootfs.Info
}

// selected lists what a pattern selects. Go's path.Match syntax for each component, "**" for any number of
// them with Parents only; leading "/" and ".." stay at the root.
func (c *copying) selected(src *rootfs.Root, pattern string) ([]item, error) {
	pivot := ""
	if c.o.Parents {
		if before, after, ok := strings.Cut(pattern, "/./"); ok {
			pivot, pattern = path.Clean("/"+before), before+"/"+after
		}
	}
	clean := path.Clean("/" + pattern)
	if !wild(pattern) {
		return c.literal(src, unescape(clean), pattern, pivot)
	}
	if c.o.NoWildcard {
		return nil, fmt.Errorf("source %q: wildcards are not allowed", pattern)
	}
	var found []string
	if err := glob(src, "/", strings.Split(clean, "/")[1:], c.o.Parents, &found); err != nil {
		return nil, fmt.Errorf("source %q: %w", pattern, err)
	}
	items, hidden := []item{}, 0
	for _, name := range found {
		it, err := c.newItem(src, name, pivot)
		if err != nil {
			return nil, err
		}
		if c.hidden(it) {
			hidden++
			continue
		}
		items = append(items, it)
	}
	switch {
	case len(items) > 0 || (c.o.AllowEmptyWildcard && hidden == 0):
		return items, nil
	case hidden > 0:
		return nil, fmt.Errorf("no items matching glob %q copied (%d filtered out): %w", pattern, hidden, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("globs [%s] matched nothing: %w", pattern, fs.ErrNotExist)
}

func (c *copying) literal(src *rootfs.Root, name, typed, pivot string) ([]item, error) {
	it, err := c.newItem(src, name, pivot)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("copier: stat: %q: %w", path.Join("/", typed), err)
	}
	if c.hidden(it) {
		if c.o.Ignore.Excluded(strings.TrimPrefix(it.path, "/")) {
			return nil, fmt.Errorf("copier: stat: %q: %w (excluded by the ignore file)", path.Join("/", typed), unix.ENOENT)
		}
		return nil, nil
	}
	return []item{it}, nil
}

func (c *copying) newItem(src *rootfs.Root, name, pivot string) (item, error) {
	stat := src.Stat
	if c.o.NoFollow {
		stat = src.Lstat
	}
	info, err := stat(name)
	if err != nil {
		return item{}, err
	}
	it := item{path: name, base: path.Base(name), info: info}
	if c.o.Parents {
		kept := strings.TrimPrefix(strings.TrimPrefix(name, pivot), "/")
		it.chain = path.Dir("/" + kept)
	}
	return it, nil
}

// hidden tells whether an item is not to be copied at all. A directory with something re-included in it is walked.
func (c *copying) hidden(it item) bool {
	rel := strings.TrimPrefix(it.path, "/")
	if rel == "" {
		return false
	}
	if it.info.IsDir() {
		return c.o.Ignore.Excluded(rel) && !c.o.Ignore.Negated() || c.exclude.Excluded(rel) && !c.exclude.Negated()
	}
	return c.o.Ignore.Excluded(rel) || c.exclude.Excluded(rel) || c.exclude.Excluded(it.base)
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

// glob appends what parts match below the directory at, in byte order.
func glob(src *rootfs.Root, at string, parts []string, deep bool, found *[]string) error {
	if len(parts) == 0 {
		*found = append(*found, at)
		return nil
	}
	if !wild(parts[0]) {
		next := path.Join(at, unescape(parts[0]))
		if _, err := src.Lstat(next); err != nil {
			return nil //nolint:nilerr // nothing there matches nothing
		}
		return glob(src, next, parts[1:], deep, found)
	}
	d, err := src.Dir(at)
	if err != nil {
		return nil //nolint:nilerr // not a directory: nothing below matches
	}
	names, err := d.ReadDir()
	d.Close()
	if err != nil {
		return err
	}
	if deep && parts[0] == "**" {
		return globDeep(src, at, names, parts, found)
	}
	for _, n := range names {
		ok, err := path.Match(parts[0], n)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := glob(src, path.Join(at, n), parts[1:], deep, found); err != nil {
			return err
		}
	}
	return nil
}

// globDeep matches "**": no component, or one and again. It does not follow links.
func globDeep(src *rootfs.Root, at string, names, parts []string, found *[]string) error {
	if err := glob(src, at, parts[1:], true, found); err != nil {
		return err
	}
	for _, n := range names {
		next := path.Join(at, n)
		if i, err := src.Lstat(next); err != nil || !i.IsDir() {
			continue
		}
		if err := glob(src, next, parts, true, found); err != nil {
			return err
		}
	}
	return nil
}
