package builder

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/pkg/compression"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/builder/internal/layer"
	imanifest "github.com/slipway-build/slipway/builder/internal/manifest"
)

// An unpackDest is local storage as a destination whose layers are unpacked while they arrive: read, verified, decompressed and
// hashed once, without a temporary file. The library would write every blob to a file, decompress it to learn its
// digest, and decompress it again to unpack it. A layer becomes one of storage's as soon as those below it are, which the
// manifest tells: unpackSource has seen it. What has arrived survives an attempt that fails; the next one does not ask for it again.
type unpackDest struct {
	types.ImageReference
	s *Store

	mu     sync.Mutex
	order  []digest.Digest // the image's layers as blobs, the lowest first
	sizes  map[digest.Digest]int64
	config []byte
	ids    []string // those of them that are in storage
	claim  *claim
	blobs  map[digest.Digest]arrived
	staged map[digest.Digest]*layer.Staged
}

// An arrived blob is one whose content is here, verified.
type arrived struct {
	diffID digest.Digest
	size   int64 // of the blob, in bytes
}

// unpacking returns what to copy from and to instead, and a function to call in the end with the error of the copy. Where the library can do what this
// cannot it is left alone: partial pulls, decryption, sigstore's signatures (a foreign destination gets only OpenPGP's).
func (s *Store) unpacking(dest, src types.ImageReference, r Registry) (to, from types.ImageReference, done func(error)) {
	if r.BlobCache != "" || len(r.DecryptionKeys) > 0 || !layer.Unpackable(s.st) || s.st.PullOptions()["enable_partial_images"] == "true" ||
		!r.RemoveSignatures && s.attachments() {
		return dest, src, func(error) {}
	}
	d := &unpackDest{ImageReference: dest, s: s, blobs: map[digest.Digest]arrived{}, staged: map[digest.Digest]*layer.Staged{}, claim: s.claim(pulling)}
	return d, &unpackSource{src, d}, d.drop
}

// drop removes what arrived and was not needed, and the layers of an image that was refused in the end. What a broken connection left is kept:
// the next attempt goes on from there.
func (d *unpackDest) drop(failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := func() error { return d.claim.end(failed != nil) }
	if failed != nil && (transient(failed) || errors.Is(failed, context.Canceled)) {
		end = d.claim.keep
	}
	if err := end(); err != nil {
		d.s.o.Log.Warn("removing layers of an image that was refused", "error", err)
	}
	if failed == nil {
		if err := d.s.forgetPulls(); err != nil {
			d.s.o.Log.Debug("forgetting dead pulls", "error", err)
		}
	}
	for blob, l := range d.staged {
		delete(d.staged, blob)
		if err := l.Drop(); err != nil {
			d.s.o.Log.Warn("removing a layer that was not needed", "error", err)
		}
	}
}

// mostLayers is how many layers overlay mounts over each other.
const mostLayers = 500

// sees takes a manifest that is being copied. One with more layers than can be mounted is refused: to store each takes longer than the one
// before it.
func (d *unpackDest) sees(raw []byte) error {
	kind := manifest.GuessMIMEType(raw)
	if imanifest.IsIndex(kind) {
		return nil
	}
	m, err := manifest.FromBlob(raw, kind)
	if err != nil {
		return nil //nolint:nilerr // the copy fails for that
	}
	var order []digest.Digest
	sizes := map[digest.Digest]int64{}
	for _, l := range m.LayerInfos() {
		if l.Size < 0 && kind != manifest.DockerV2Schema1MediaType && kind != manifest.DockerV2Schema1SignedMediaType {
			return fmt.Errorf("the manifest says that layer %s has %d bytes", l.Digest, l.Size) // -1 would be as many as come
		}
		if !l.EmptyLayer {
			order = append(order, l.Digest)
			sizes[l.Digest] = l.Size
		}
	}
	if len(order) > mostLayers {
		return fmt.Errorf("the image has %d layers, and storage mounts at most %d", len(order), mostLayers)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sizes = sizes
	if !slices.Equal(order, d.order) {
		d.order, d.ids = order, nil
	}
	return nil
}

// add notes a blob and, if it was unpacked, its layer, and stores what can be stored.
func (d *unpackDest) add(ctx context.Context, blob digest.Digest, a arrived, l *layer.Staged) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blobs[blob] = a
	if l != nil && d.staged[blob] != nil {
		return l.Drop() // an image may have a layer twice
	}
	if l != nil {
		d.staged[blob] = l
	}
	return d.advance(ctx)
}

// advance stores the layers whose turn it is.
func (d *unpackDest) advance(ctx context.Context) error {
	for len(d.ids) < len(d.order) {
		blob := d.order[len(d.ids)]
		a, here := d.blobs[blob]
		if !here {
			return nil
		}
		parent := ""
		if len(d.ids) > 0 {
			parent = d.ids[len(d.ids)-1]
		}
		id, err := d.store(ctx, parent, blob, a.diffID)
		if err != nil {
			return fmt.Errorf("storing layer %s: %w", blob, err)
		}
		d.ids = append(d.ids, id)
	}
	return nil
}

// store makes sure that a layer is in storage over a parent: it is there, has just been unpacked, or is there over another.
func (d *unpackDest) store(ctx context.Context, parent string, blob, diffID digest.Digest) (string, error) {
	id := layer.ID(parent, diffID)
	if there, err := layer.Use(d.s.st, id, d.claim.add); there || err != nil {
		return id, err
	}
	l := d.staged[blob]
	if l == nil {
		var err error
		if l, err = d.again(ctx, diffID); err != nil {
			return "", err
		}
	}
	delete(d.staged, blob)
	return l.Store(parent, blob, d.claim.add)
}

// again unpacks what a layer of storage has.
func (d *unpackDest) again(ctx context.Context, diffID digest.Digest) (*layer.Staged, error) {
	same, err := d.s.st.LayersByUncompressedDigest(diffID)
	if err != nil {
		return nil, err
	}
	if len(same) == 0 {
		return nil, fmt.Errorf("%s: %w", diffID, storage.ErrLayerUnknown)
	}
	plain := archive.Uncompressed
	diff, err := d.s.st.Diff("", same[0].ID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return nil, err
	}
	l, err := layer.Unpack(ctx, d.s.st, diff, d.s.own, d.s.noteStaging)
	if cerr := diff.Close(); err == nil && cerr != nil {
		return nil, errors.Join(cerr, l.Drop())
	}
	if err == nil && l.DiffID != diffID {
		return nil, errors.Join(fmt.Errorf("layer %s in storage is damaged: it reads as %s", same[0].ID, l.DiffID), l.Drop())
	}
	return l, err
}

// present returns what is known of a blob whose layer is in storage.
func (d *unpackDest) present(info types.BlobInfo) (arrived, bool) {
	d.mu.Lock()
	a, ok := d.blobs[info.Digest]
	d.mu.Unlock()
	if ok {
		return a, true
	}
	if same, err := d.s.st.LayersByUncompressedDigest(info.Digest); err == nil && len(same) > 0 {
		return arrived{info.Digest, same[0].UncompressedSize}, true
	}
	same, err := d.s.st.LayersByCompressedDigest(info.Digest)
	if err != nil || len(same) == 0 || same[0].UncompressedDigest == "" {
		return arrived{}, false
	}
	a = arrived{same[0].UncompressedDigest, same[0].CompressedSize}
	if a.size == 0 {
		a.size = info.Size // a layer stored as a directory does not know
	}
	return a, a.size >= 0
}

// NewImageDestination opens storage.
func (d *unpackDest) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	inner, err := d.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &unpackWriter{inner, d}, nil
}

type unpackWriter struct {
	types.ImageDestination
	d *unpackDest
}

// TryReusingBlob tells whether a layer is here.
func (w *unpackWriter) TryReusingBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	a, ok := w.d.present(info)
	if !ok {
		return false, types.BlobInfo{}, nil
	}
	return true, types.BlobInfo{Digest: info.Digest, Size: a.size}, w.d.add(ctx, info.Digest, a, nil)
}

// PutBlob unpacks a layer. The stream's end verifies its digest: only then is the layer added.
func (w *unpackWriter) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	if isConfig {
		var config bytes.Buffer
		got, err := w.ImageDestination.PutBlob(ctx, io.TeeReader(stream, &config), info, cache, isConfig)
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		w.d.config = config.Bytes()
		return got, err
	}
	if size, ok := w.d.promised(info.Digest); ok {
		info.Size = size // the library believes the length that the answer was announced with
	}
	blob := &counted{r: stream, most: info.Size}
	if info.Digest == "" {
		blob.sum = sha256.New()
	}
	l, err := w.d.unpack(ctx, blob)
	if err != nil {
		return types.BlobInfo{}, err
	}
	if info.Size >= 0 && info.Size != blob.n {
		return types.BlobInfo{}, errors.Join(istorage.ErrBlobSizeMismatch, l.Drop())
	}
	if blob.sum != nil {
		info.Digest = digest.NewDigest(digest.SHA256, blob.sum)
	}
	cache.RecordDigestUncompressedPair(info.Digest, l.DiffID)
	return types.BlobInfo{Digest: info.Digest, Size: blob.n}, w.d.add(ctx, info.Digest, arrived{l.DiffID, blob.n}, l)
}

// promised is the size that the manifest gives for a blob, in bytes; the oldest manifests give none.
func (d *unpackDest) promised(blob digest.Digest) (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size, ok := d.sizes[blob]
	return size, ok && size >= 0
}

// unpack reads a blob to its end.
func (d *unpackDest) unpack(ctx context.Context, blob io.Reader) (*layer.Staged, error) {
	plain, err := decompress(blob)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	l, err := layer.Unpack(ctx, d.s.st, plain, d.s.own, d.s.noteStaging)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(io.Discard, blob); err != nil {
		return nil, errors.Join(err, l.Drop())
	}
	return l, nil
}

// maxWindow is how much of what it has decompressed a layer may make us keep in memory, in bytes: as much as every level of zstd needs,
// and as zstd itself allows without being asked.
const maxWindow = 128 << 20

// decompress returns the content of a blob; the caller closes it.
func decompress(blob io.Reader) (io.ReadCloser, error) {
	format, open, blob, err := compression.DetectCompressionFormat(blob)
	if err != nil {
		return nil, fmt.Errorf("reading layer: %w", err)
	}
	switch {
	case open == nil:
		return io.NopCloser(blob), nil
	case format.Name() == compression.Gzip.Name():
		return gzip.NewReader(bufio.NewReaderSize(blob, 128<<10)) // the library's reads ahead, as layer.Unpack does
	case format.Name() == compression.Zstd.Name():
		d, err := zstd.NewReader(blob, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return open(blob)
}

// agree fails if the configuration tells of other layers than the manifest does. Their digests the library compares, but not their number.
func (d *unpackDest) agree() error {
	var config struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if json.Unmarshal(d.config, &config) != nil || len(config.RootFS.DiffIDs) == 0 || len(config.RootFS.DiffIDs) == len(d.order) {
		return nil // an artifact's configuration may be anything
	}
	return fmt.Errorf("the image has %d layers, its configuration tells of %d", len(d.order), len(config.RootFS.DiffIDs))
}

// noteConfig tells the library of the configuration. It would look for it in the image that is not written yet, under the digest in the
// reference, which may be that of the list that the image is of.
func (w *unpackWriter) noteConfig() error {
	inner, ok := w.ImageDestination.(interface {
		NoteOriginalOCIConfig(config *ispec.Image, failed error) error
	})
	var config ispec.Image
	if !ok || json.Unmarshal(w.d.config, &config) != nil {
		return nil
	}
	return inner.NoteOriginalOCIConfig(&config, nil)
}

// PutManifest tells the library of the layers, which are in storage by now.
func (w *unpackWriter) PutManifest(ctx context.Context, raw []byte, instance *digest.Digest) error {
	w.d.sees(raw)
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if err := w.d.agree(); err != nil {
		return err
	}
	if err := w.noteConfig(); err != nil {
		return err
	}
	if err := w.d.advance(ctx); err != nil {
		return err
	}
	for i, blob := range w.d.order {
		if i >= len(w.d.ids) {
			return fmt.Errorf("layer %s has not arrived", blob)
		}
		a, cache := w.d.blobs[blob], memory.New()
		cache.RecordDigestUncompressedPair(blob, a.diffID)
		if ok, _, err := w.ImageDestination.TryReusingBlob(ctx, types.BlobInfo{Digest: blob, Size: a.size}, cache, false); err != nil || !ok {
			return errors.Join(fmt.Errorf("layer %s is no longer in storage", blob), err)
		}
	}
	return w.ImageDestination.PutManifest(ctx, raw, instance)
}

// A counted reader counts and, if sum is set, hashes what is read. It fails when there is more than most, unless that is negative: a
// registry must not keep us reading for ever.
type counted struct {
	r    io.Reader
	n    int64
	most int64
	sum  hash.Hash
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.most >= 0 && c.n > c.most {
		return 0, istorage.ErrBlobSizeMismatch
	}
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	return n, err
}

// An unpackSource shows an unpackDest the manifests that are read.
type unpackSource struct {
	types.ImageReference
	d *unpackDest
}

// NewImageSource opens the source.
func (r *unpackSource) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	inner, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &manifestTap{inner, r.d}, nil
}

type manifestTap struct {
	types.ImageSource
	d *unpackDest
}

// GetManifest reads a manifest.
func (t *manifestTap) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	raw, kind, err := t.ImageSource.GetManifest(ctx, instance)
	if err == nil {
		err = t.d.sees(raw)
	}
	return raw, kind, err
}

// attachments tells whether registries.d may give images sigstore's signatures, attached or from a server of signatures, which it does not by
// default. Both directories that may be in force are read, and a file that cannot be read counts as one that does.
func (s *Store) attachments() bool {
	dirs := []string{"/etc/containers/registries.d"}
	if home, ok := s.o.Environ("HOME"); ok {
		dirs = append(dirs, filepath.Join(home, ".config/containers/registries.d"))
	}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return true
		}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil || slices.ContainsFunc(strings.Split(string(text), "\n"), signing) {
				return true
			}
		}
	}
	return false
}

// signing tells whether a line of a file in registries.d may be about where signatures are read from.
func signing(line string) bool {
	text, _, _ := strings.Cut(line, "#")
	return slices.ContainsFunc([]string{"use-sigstore-attachments", "lookaside:", "sigstore:"}, func(key string) bool { return strings.Contains(text, key) })
}
