package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/daemon"
	"github.com/containers/image/v5/docker/reference"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/sif"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// Scratch is the name of the empty base.
const Scratch = "scratch"

// transport returns the image transport of that name, or nil. Transports are listed one by one: the
// library's own list of all of them costs start-up time and brings some that nobody uses here (platform.md §1).
func transport(name string) types.ImageTransport {
	switch name {
	case "docker":
		return docker.Transport
	case "docker-archive":
		return dockerarchive.Transport
	case "docker-daemon":
		return daemon.Transport
	case "dir":
		return directory.Transport
	case "oci":
		return layout.Transport
	case "oci-archive":
		return ociarchive.Transport
	case "sif":
		return sif.Transport
	}
	return nil
}

const storagePrefix = "containers-storage:"

// splitStore takes containers-storage:[STORE]NAME apart; a name alone has no store.
func splitStore(text string) (store, name string) {
	name = strings.TrimPrefix(text, storagePrefix)
	if rest, ok := strings.CutPrefix(name, "["); ok {
		store, name, _ = strings.Cut(rest, "]")
	}
	return store, name
}

// ownName is the name in containers-storage:[STORE]NAME. STORE, which is [DRIVER@]ROOT[+RUNROOT][:OPTIONS], may name this storage only.
func (s *Store) ownName(text string) (string, error) {
	store, name := splitStore(text)
	if store == "" {
		return name, nil
	}
	root := store[strings.Index(store, "@")+1:]
	if end := strings.IndexAny(root, "+:"); end >= 0 {
		root = root[:end]
	}
	if filepath.Clean(root) != filepath.Clean(s.st.GraphRoot()) {
		return "", fmt.Errorf("%s is in another storage than %s: use that one with --root, or copy with skopeo", text, s.st.GraphRoot())
	}
	return name, nil
}

// parseTransport reads TRANSPORT:REST. It returns nil, nil when text has no transport word in front, and
// also when the rest isn't valid for it and text as a whole is a plain image name ("docker:latest").
func parseTransport(text string) (types.ImageReference, error) {
	word, rest, ok := strings.Cut(text, ":")
	t := transport(word)
	if !ok || t == nil {
		if strings.Contains(text, "://") {
			//lint:ignore ST1005 the family's text (cli.md §14)
			return nil, fmt.Errorf("Invalid image name %q, unknown transport %q", text, word)
		}
		return nil, nil
	}
	if named, nerr := reference.ParseNormalizedNamed(strings.TrimPrefix(rest, "//")); nerr == nil && word == docker.Transport.Name() && strings.HasPrefix(rest, "//") {
		rest = "//" + pinned(named).String()
	}
	ref, err := t.ParseReference(rest)
	if err != nil {
		if _, nerr := reference.ParseNormalizedNamed(text); nerr == nil {
			return nil, nil
		}
		return nil, malformed(text, err)
	}
	switch word {
	case ociarchive.Transport.Name():
		return ociArchive{ref}, nil
	case layout.Transport.Name():
		return ociLayout{ref}, nil
	}
	return ref, nil
}

// malformed says what is wrong with a name behind a transport word: its form, or that the file system does not let us see whether a path is there.
func malformed(text string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w", text, fs.ErrPermission)
	}
	return fmt.Errorf("parsing image name %q: %w", text, err)
}

// pinned returns a name without its tag if it has a digest as well: that alone says which image is meant. The tag is for those who read the name.
func pinned(named reference.Named) reference.Named {
	d, digested := named.(reference.Digested)
	if _, tagged := named.(reference.Tagged); !tagged || !digested {
		return named
	}
	if alone, err := reference.WithDigest(reference.TrimNamed(named), d.Digest()); err == nil {
		return alone
	}
	return named
}

// localName normalises the name an image gets in local storage: without registry it is localhost/'s,
// without tag latest (cli.md §6).
func localName(name string) (reference.Named, error) {
	name = strings.TrimPrefix(name, storagePrefix)
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if shortnames.IsShortName(name) {
		if named, err = reference.ParseNormalizedNamed("localhost/" + name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return reference.TagNameOnly(named), nil
}

// candidates are the full names that a name given by the user may stand for, in order of preference, local first: nothing is read of
// registries before that is not the one. A fully qualified name stands for itself.
func (s *Store) candidates(name string) (iter.Seq[reference.Named], error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	local, err := localName(name)
	if err != nil {
		return nil, err
	}
	return func(yield func(reference.Named) bool) {
		if !yield(local) || !shortnames.IsShortName(name) {
			return
		}
		resolved, err := withAliases(s, name, shortnames.ResolveLocally)
		if err != nil {
			s.o.Log.Debug("resolving short name", "name", name, "error", err)
		}
		if search, err := sysregistriesv2.UnqualifiedSearchRegistries(&s.sys); err != nil || len(search) == 0 {
			resolved = append(resolved, reference.TagNameOnly(named))
		}
		for _, n := range resolved {
			if !yield(n) {
				return
			}
		}
	}, nil
}

// bears finds the name among an image's that a name given by the user stands for, nil if it is none of them.
func (s *Store) bears(img *storage.Image, name string) (reference.Named, error) {
	names, err := s.candidates(name)
	if err != nil {
		return nil, err
	}
	for n := range names {
		if slices.Contains(img.Names, n.String()) {
			return n, nil
		}
	}
	return nil, nil
}

// remoteCandidates resolves a name with registries.conf, asking the user where that file wants it. A short name that it says nothing about, and
// without any search registry configured, is docker.io's, so that no file is needed (decisions.md §3.6).
func (s *Store) remoteCandidates(name string, named reference.Named) ([]shortnames.PullCandidate, error) {
	resolved, err := withAliases(s, name, shortnames.Resolve)
	if err == nil {
		return resolved.PullCandidates, nil
	}
	if search, serr := sysregistriesv2.UnqualifiedSearchRegistries(&s.sys); serr == nil && len(search) == 0 && strings.Contains(err.Error(), "did not resolve to an alias") {
		return []shortnames.PullCandidate{{Value: reference.TagNameOnly(named)}}, nil
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// withAliases calls the image library, which opens the file with the aliases that users chose for writing even to read it. Where nothing can be
// written at its place below the home directory, as in a pod, that file is in storage.
func withAliases[T any](s *Store, name string, f func(*types.SystemContext, string) (T, error)) (T, error) {
	v, err := f(&s.sys, name)
	if s.sys.UserShortNameAliasConfPath != "" || !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return v, err
	}
	s.o.Log.Debug("short names that users chose are kept in storage", "error", err)
	sys := s.sys
	sys.UserShortNameAliasConfPath = filepath.Join(s.st.GraphRoot(), "slipway", "short-name-aliases.conf")
	return f(&sys, name)
}

// findImage returns the storage record of a local image given by name, ID, unique ID prefix (with or
// without "sha256:") or containers-storage: reference; ErrNoImage if there is none.
func (s *Store) findImage(name string) (*storage.Image, error) {
	name, err := s.ownName(name)
	if err != nil {
		return nil, err
	}
	name = strings.TrimPrefix(name, "@")
	if id, ok := imageID(name); ok {
		if img, err := s.st.Image(id); err == nil {
			return img, nil
		}
	}
	if strings.HasPrefix(name, "sha256:") || reference.IsFullIdentifier(name) { // no name can look like that
		return nil, fmt.Errorf("%s: %w", name, ErrNoImage)
	}
	names, err := s.candidates(name)
	if err != nil {
		return nil, err
	}
	for n := range names {
		img, err := s.lookup(n)
		if err == nil || !errors.Is(err, ErrNoImage) {
			return img, err
		}
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNoImage)
}

// lookup finds the image that bears a full name, or the digest in it.
func (s *Store) lookup(n reference.Named) (*storage.Image, error) {
	if _, digested := n.(reference.Digested); !digested {
		img, err := s.st.Image(n.String())
		if err != nil {
			return nil, translate(err)
		}
		return img, nil
	}
	ref, err := istorage.Transport.NewStoreReference(s.st, n, "")
	if err != nil {
		return nil, err
	}
	_, img, err := istorage.ResolveReference(ref)
	if err != nil {
		return nil, ErrNoImage
	}
	return img, nil
}

// imageID tells whether text can be an image ID or a prefix of one, and returns it without "sha256:".
func imageID(text string) (string, bool) {
	text = strings.TrimPrefix(text, "sha256:")
	if len(text) < 3 || len(text) > 64 {
		return "", false
	}
	for _, c := range text {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return "", false
		}
	}
	return text, true
}

// storageRef is the image library's name for a local image.
func (s *Store) storageRef(id string) (types.ImageReference, error) {
	return istorage.Transport.NewStoreReference(s.st, nil, id)
}

// destination parses where to push to: without a transport a registry is meant, unless the name can
// only be a transport misspelt, or what is behind one (cli.md §6).
func destination(dest string) (types.ImageReference, error) {
	word, rest, _ := strings.Cut(dest, ":")
	if t := transport(word); t != nil && word != dest {
		ref, err := t.ParseReference(rest)
		if err != nil {
			return nil, malformed(dest, err)
		}
		return ref, nil
	}
	ref, err := parseTransport(dest)
	if err != nil || ref != nil {
		return ref, err
	}
	named, err := reference.ParseNormalizedNamed(dest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dest, err)
	}
	return docker.NewReference(reference.TagNameOnly(named))
}

// registrySource is the reference to read an image of a registry from.
func registrySource(name string) (types.ImageReference, error) {
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		name = pinned(named).String()
	}
	return destination(name)
}

// WithoutTag behind the name of a repository in a registry, "docker://REPOSITORY", has Push give what it pushes no tag: it is known by
// its digest only.
const WithoutTag = docker.UnknownDigestSuffix

// RegistryName is the full name of an image in a registry, docker.io's if no other is named, with a tag. It is not ok for what is
// no such name: an ID, or another transport.
func RegistryName(name string) (full string, ok bool) {
	bare := strings.TrimPrefix(name, "docker://")
	if ref, err := parseTransport(bare); ref != nil || err != nil {
		return "", false
	}
	named, err := reference.ParseNormalizedNamed(bare)
	if err != nil {
		return "", false
	}
	return reference.TagNameOnly(named).String(), true
}

// containerPrefix is the first part of a generated container name (cli.md §9.1, exact.md §6.8).
func containerPrefix(image string) string {
	if image == "" || image == Scratch {
		return ""
	}
	if id, ok := imageID(image); ok && len(id) >= 12 {
		return id[:12]
	}
	prefix, _, _ := strings.Cut(image, ":")
	prefix = prefix[strings.LastIndex(prefix, "/")+1:]
	prefix, _, _ = strings.Cut(prefix, "@")
	return prefix
}

// isLocalTransport tells whether a source can be read without a network, whatever the pull policy.
func isLocalTransport(ref types.ImageReference) bool {
	switch ref.Transport().Name() {
	case "docker", "docker-daemon":
		return false
	}
	return true
}

// exists tells whether the file behind an archive or directory reference is there, for a clear message.
func exists(ref types.ImageReference) error {
	if !isLocalTransport(ref) {
		return nil
	}
	if _, err := os.Stat(localPath(ref)); err != nil {
		return err
	}
	switch ref.Transport().Name() {
	case layout.Transport.Name():
		return plainFile(filepath.Join(localPath(ref), layoutIndex))
	case directory.Transport.Name():
		if err := plainFiles(localPath(ref)); err != nil {
			return err
		}
		return plainFile(filepath.Join(localPath(ref), "manifest.json"))
	case sif.Transport.Name():
		return sifTools()
	}
	return nil
}

// plainPlace refuses a directory to write an image to in which a file that is read or written again is a pipe or a device.
func plainPlace(ref types.ImageReference) error {
	dir := localPath(ref)
	switch ref.Transport().Name() {
	case layout.Transport.Name():
		return errors.Join(plainFiles(dir), plainFiles(filepath.Join(dir, "blobs", "sha256")))
	case directory.Transport.Name():
		return plainFiles(dir)
	}
	return nil
}

// plainFiles refuses a directory of an image in which anything but regular files could be read: who opens a pipe waits for ever.
func plainFiles(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // whoever reads the image says what is wrong
	}
	for _, e := range list {
		if e.Type().IsRegular() || e.IsDir() {
			continue
		}
		f, err := openPlain(filepath.Join(dir, e.Name()))
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// plainFile refuses a description of images that is there and no regular file, or larger than any is.
func plainFile(name string) error {
	f, err := openPlain(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() > manifest.MaxIndex {
		err = fmt.Errorf("%s has %d bytes, at most %d are read", name, st.Size(), manifest.MaxIndex)
	}
	return errors.Join(err, f.Close())
}

var errNotPlain = errors.New("is not a regular file")

// openPlain opens a regular file. It waits for nobody who would write to a pipe, and opens no device.
func openPlain(name string) (*os.File, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w", name, errNotPlain)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be another file by now
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s %w", name, errNotPlain)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sifTools looks for the programs that the library unpacks SIF files with.
func sifTools() error {
	for _, tool := range []string{"unsquashfs", "fakeroot"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("SIF files are read with the programs unsquashfs and fakeroot: install squashfs-tools and fakeroot: %w", err)
		}
	}
	return nil
}

// localPath is the file or directory that a local transport's reference is in. Only a directory of blobs has no name behind a colon.
func localPath(ref types.ImageReference) string {
	path := ref.StringWithinTransport()
	if ref.Transport().Name() != directory.Transport.Name() {
		path, _, _ = strings.Cut(path, ":")
	}
	return filepath.Clean(path)
}
