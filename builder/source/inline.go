package source

import (
	"bytes"
	"context"
	"time"
)

// Inline is a file with the given content: a here-document. It has mode 0644 and the time mtime.
func Inline(name string, content []byte, mtime time.Time) Source {
	return inline{name, content, mtime}
}

type inline struct {
	name    string
	content []byte
	mtime   time.Time
}

func (i inline) Open(context.Context) (Opened, error) {
	return Opened{Name: i.name, Mode: 0o644, Mtime: i.mtime, Body: bytes.NewReader(i.content)}, nil
}

func (i inline) String() string { return "<<" + i.name }
