package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// addFiles puts the files of o.AddFiles into a layer of their own over top, with a history entry, and
// returns that layer (cli.md §9.5: regular files, 0:0, 0644).
func (s *Store) addFiles(ctx context.Context, cfg *config.Image, top string, o CommitOptions) (string, error) {
	w, err := s.NewWorkspace(ctx, top, cfg, WorkspaceOptions{})
	if err != nil {
		return "", err
	}
	defer w.Discard()
	var kinds []string
	for _, f := range o.AddFiles {
		kind, err := w.addFile(ctx, f)
		if err != nil {
			return "", fmt.Errorf("adding file %s: %w", f, err)
		}
		kinds = append(kinds, kind)
	}
	l, err := w.Seal(ctx, "", LayerOptions{Output: o.Output})
	if err != nil {
		return "", err
	}
	created := s.created(o.Output)
	grow(cfg, l.DiffID, config.History{Created: &created, CreatedBy: config.Nop("ADD", strings.Join(kinds, " ")+" in /")})
	return l.ID, nil
}

// addFile copies "source[:destination]" and returns the digest text for the history.
func (w *Workspace) addFile(ctx context.Context, spec string) (string, error) {
	from, dest, ok := strings.Cut(spec, ":")
	from, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	if !ok {
		dest = "/" + filepath.Base(from)
	}
	root, err := rootfs.Open(filepath.Dir(from), rootfs.Apply)
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Stat(filepath.Base(from))
	if errors.Is(err, fs.ErrNotExist) {
		err = syscall.ENOENT // else it would name a path in root
	}
	if err != nil {
		return "", err
	}
	if !info.IsRegular() {
		return "", fmt.Errorf("not a regular file")
	}
	content, err := w.Copy(ctx, dest, source.Dir(root, from, filepath.Base(from)), CopyOptions{Chown: "0:0", Chmod: "0644", NoWildcard: true})
	return content.Kind + content.Digest.Encoded(), err
}
