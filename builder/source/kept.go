package source

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// Keep fetches the single file of a source into a new file on this machine and returns it as a source, with the digest of its bytes: so a
// build knows what it is about to copy. The caller removes the file.
func Keep(ctx context.Context, src Source, file string) (_ Source, known Known, err error) {
	in, err := src.Open(ctx)
	if err != nil {
		return nil, known, err
	}
	if done := in.Close; done != nil {
		defer func() { err = errors.Join(err, done()) }()
	}
	if in.Body == nil {
		return nil, known, errors.New("the source is a tree")
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, known, err
	}
	h := digest.SHA256.Digester()
	_, err = io.Copy(io.MultiWriter(out, h.Hash()), in.Body)
	if err = errors.Join(err, out.Close()); err != nil {
		return nil, known, err
	}
	in.Body, in.Close = nil, nil
	known = in.Known
	known.Sum = h.Digest()
	return kept{in, file, src.String()}, known, nil
}

type kept struct {
	Opened
	file, text string
}

func (k kept) Open(context.Context) (Opened, error) {
	f, err := os.Open(k.file)
	if err != nil {
		return Opened{}, err
	}
	o := k.Opened
	o.Body, o.Close = f, f.Close
	return o, nil
}

func (k kept) String() string { return k.text }
