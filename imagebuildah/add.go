package imagebuildah

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/imagebuildah/cache"
)

// A piece is what ADD takes from one place: neighbouring paths of the context, with the here-documents in the last piece,
// or one remote source.
type piece struct {
	files   instructions.SourcesAndDest
	remote  source.Source
	content string // names the content, empty where that is not known before it is fetched
	state   string // of the paths, when content was found
	o       builder.CopyOptions
}

// add is ADD.
func (st *stage) add(ctx context.Context, c *instructions.AddCommand) error {
	st.severalToOne("ADD", c.SourcesAndDest, false)
	o := builder.CopyOptions{Chown: c.Chown, Chmod: c.Chmod, Excludes: c.ExcludePatterns, Link: c.Link, AllowEmptyWildcard: true}
	local := o
	local.IgnoreFile, local.Unpack = st.b.o.IgnoreFile, c.Unpack == nil || *c.Unpack
	remote := false
	for _, s := range c.SourcePaths {
		remote = remote || source.IsGit(s) || source.IsURL(s)
	}
	switch {
	case !remote && c.Checksum != "":
		return errors.New("checksum requires HTTP(S) or Git sources")
	case !remote:
		return st.transfer(ctx, "ADD", c.SourcesAndDest, st.b.files(), local)
	case c.Checksum != "" && len(c.SourcePaths)+len(c.SourceContents) > 1:
		return errors.New("checksum can't be specified for multiple sources")
	}
	parts, err := st.pieces(ctx, c, o, local)
	if err != nil {
		return err
	}
	in := &cache.Input{Kind: "ADD", Args: st.target(c.DestPath),
		Options: []string{o.Chown, o.Chmod, strings.Join(o.Excludes, "\n"), fmt.Sprint(local.Unpack, o.Link, c.Unpack != nil)}}
	var words []string
	for _, p := range parts {
		words = append(words, p.words()...)
		if in == nil || p.content == "" {
			in = nil // what a server sends can change: never from the cache
			continue
		}
		in.Content = append(in.Content, p.content)
		in.Args = append(in.Args, names(p.files)...)
	}
	by := "/bin/sh -c #(nop) ADD " + strings.Join(words, " ") + " in " + c.DestPath + " "
	s := st.current
	st.link(s, o)
	return st.layerStep(ctx, in, by, func(w *builder.Workspace) error {
		chown, err := st.ownerBelow(ctx, s, o.Chown)
		if err != nil {
			return err
		}
		for _, p := range parts {
			p.o.Chown = chown
			changed, err := st.addPiece(ctx, w, c.DestPath, p)
			if err != nil {
				return err
			}
			s.changed = s.changed || changed
		}
		return nil
	})
}

// words name the sources in the history, without credentials.
func (p piece) words() []string {
	if p.remote != nil {
		return []string{p.remote.String()}
	}
	return append(p.files.SourcePaths, names(instructions.SourcesAndDest{SourceContents: p.files.SourceContents})...)
}

// pieces splits the sources of ADD, in the order in which they are written (dockerfile.md §6.1).
func (st *stage) pieces(ctx context.Context, c *instructions.AddCommand, o, local builder.CopyOptions) ([]piece, error) {
	var parts []piece
	paths := func() *piece {
		if n := len(parts); n > 0 && parts[n-1].remote == nil {
			return &parts[n-1]
		}
		parts = append(parts, piece{o: local, files: instructions.SourcesAndDest{DestPath: c.DestPath}})
		return &parts[len(parts)-1]
	}
	for _, word := range c.SourcePaths {
		if !source.IsGit(word) && !source.IsURL(word) {
			p := paths()
			p.files.SourcePaths = append(p.files.SourcePaths, word)
			continue
		}
		p, err := st.remotePiece(ctx, c, word, o)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(c.SourceContents) > 0 {
		p := paths()
		p.files.SourceContents = c.SourceContents
	}
	for i := range parts {
		p := &parts[i]
		if p.remote != nil {
			continue
		}
		list, state, err := st.digest(ctx, p.files, st.b.files(), p.o)
		if err != nil {
			return nil, err
		}
		p.content, p.state = strings.Join(list, " "), state
	}
	return parts, nil
}

func (st *stage) remotePiece(ctx context.Context, c *instructions.AddCommand, word string, o builder.CopyOptions) (piece, error) {
	ro := builder.FetchOptions{Registry: st.b.o.Pull.Registry, Checksum: c.Checksum, KeepGitDir: c.KeepGitDir, Secrets: st.b.o.Secrets}
	if source.IsGit(word) {
		if c.Unpack != nil && *c.Unpack {
			return piece{}, errors.New("unpack requires HTTP(S) or local sources")
		}
		g, err := st.b.s.Git(word, ro)
		if err != nil {
			return piece{}, err
		}
		content, err := g.Pin(ctx)
		return piece{remote: g, content: content, o: o}, err
	}
	o.Unpack = c.Unpack != nil && *c.Unpack
	p := piece{o: o}
	var err error
	sum := c.Checksum
	if sum == "" && !st.b.o.NoLayers { // asked for now: what the server has decides whether the step is cached
		p.remote, sum, err = st.b.current(ctx, word, ro)
	} else {
		p.remote, err = st.b.s.Download(word, ro)
	}
	if sum != "" {
		p.content = "url:" + source.Name(word) + ":" + sum
	}
	return p, err
}

// current is what a server has now, with its digest. A file that was fetched for an earlier build, and that the server says it has still,
// is fetched only when the step is executed, and must be the same then.
func (b *build) current(ctx context.Context, word string, o builder.FetchOptions) (source.Source, string, error) {
	name := digest.FromString("url\n" + word).Encoded()
	var known source.Known
	if text, ok := b.s.LayerFact(name); ok && !b.o.NoCache && json.Unmarshal([]byte(text), &known) == nil && known.Sum.Validate() == nil {
		o.Known = &known
	}
	src, err := b.s.Download(word, o)
	if err != nil {
		return nil, "", err
	}
	local, fetched, err := b.kept(ctx, src)
	if errors.Is(err, source.ErrUnchanged) {
		o.Checksum, o.Known = known.Sum.String(), nil
		fetched = known
		local, err = b.s.Download(word, o)
	}
	if err != nil {
		return nil, "", err
	}
	if text, err := json.Marshal(fetched); err == nil && fetched.ETag+fetched.Modified != "" {
		_ = b.s.KeepLayerFact(name, string(text)) // else it is fetched again
	}
	return local, fetched.Sum.String(), nil
}

// kept fetches a file for as long as the build takes.
func (b *build) kept(ctx context.Context, src source.Source) (source.Source, source.Known, error) {
	dir, done, err := b.s.Scratch()
	if err != nil {
		return nil, source.Known{}, err
	}
	b.mu.Lock()
	b.closers = append(b.closers, done)
	b.mu.Unlock()
	return source.Keep(ctx, src, filepath.Join(dir, "file"))
}

// addPiece copies one piece, and tells whether its paths have changed since their digest was made.
func (st *stage) addPiece(ctx context.Context, w *builder.Workspace, dest string, p piece) (changed bool, err error) {
	p.o.NoDigest = true
	if p.remote != nil {
		_, err := w.Copy(ctx, dest, p.remote, p.o)
		return false, err
	}
	copied, err := st.write(ctx, w, p.files, st.b.files(), p.o)
	return p.state != "" && copied != p.state, err
}
