// Package source says where copied content comes from: a directory tree, a URL, or text given inline.
// It fetches and describes; writing into a container is package copier's work.
package source

import (
	"context"
	"io"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A Source is either a tree to select from or a single stream of bytes; exactly one of the two methods
// of an opened source gives a result (decisions.md §1.5).
type Source interface {
	// Open prepares the source. The caller closes what it returns.
	Open(ctx context.Context) (Opened, error)
	// String names the source in messages, without credentials.
	String() string
}

// Opened is an open source. Close releases it.
type Opened struct {
	// Root and Patterns select from a tree; Root is nil for a stream.
	Root     *rootfs.Root
	Patterns []string
	// Name, Mode, Mtime and Body describe a single file; Body is nil for a tree.
	Name  string
	Mode  uint32
	Mtime time.Time
	Body  io.Reader
	// Known says how a server calls the state of a download; its Sum is not set.
	Known Known
	// Close releases the source; nil when there is nothing to release.
	Close func() error
}

// Dir selects what patterns match below root: a context, a stage, an image or a container. A pattern is a path from root with wildcards,
// "." all of it. Errors say name for root. The caller keeps root, and closes it.
func Dir(root *rootfs.Root, name string, patterns ...string) Source {
	return dir{root, name, patterns}
}

type dir struct {
	root     *rootfs.Root
	name     string
	patterns []string
}

func (d dir) Open(context.Context) (Opened, error) {
	return Opened{Root: d.root, Patterns: d.patterns}, nil
}

func (d dir) String() string { return d.name }
