package builder

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/internal/flock"
)

// A remote cache is one artifact in a repository: its configuration is a list of cached steps, its layers are their
// layers. So it is read with two requests, and the registry keeps what the list names (decisions.md §2.6). Two builders may each have
// executed a step: the list has both results then, and what each stands on (remotechain.go).

// cacheTag is the tag of the artifact; cacheType the type of its configuration.
const (
	cacheTag  = "slipway-cache"
	cacheType = "application/vnd.slipway.cache.v1+json"

	typeGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeZstd = "application/vnd.oci.image.layer.v1.tar+zstd"
)

// Bounds of the list; the oldest steps go first.
const (
	maxCacheSteps = 1000
	maxCacheBytes = 4 << 20
)

// A RemoteCache is the list of cached steps as it was when it was opened. It may be used by several goroutines for reading.
type RemoteCache struct {
	s     *Store
	place string
	ref   types.ImageReference
	dir   string // of a layout
	// mounts says that the content of cache mounts is exchanged too.
	mounts bool
	// least says that it gets only the steps that the result stands on.
	least bool
	z     Compression // of this place
	sys   *types.SystemContext
	steps map[string][]remoteStep // by key, the newest results first
	held  map[string]remoteStep   // what cache mounts hold
}

// remoteStep is one result of a cached step.
type remoteStep struct {
	Key string `json:"key"`
	// Over is the layer that it was made over.
	Over   string        `json:"over,omitempty"`
	DiffID digest.Digest `json:"diffID"`
	Blob   digest.Digest `json:"blob"`
	Size   int64         `json:"size"`
	Made   time.Time     `json:"made"`
	Note   []byte        `json:"note,omitempty"`
	// MediaType of the blob; empty for layers that gzip has compressed.
	MediaType string `json:"mediaType,omitempty"`
}

// A RemoteStep is what a build gives to a remote cache.
type RemoteStep struct {
	Key   string
	Layer *Layer
	Note  []byte
	// Fresh says that the step was executed since what a cache has of it was not wanted, Damaged that it could not be had: either is replaced.
	Fresh, Damaged bool
}

// CheckCachePlaces tells whether remote caches are named in a way that is understood.
func CheckCachePlaces(places ...string) error {
	for _, text := range places {
		if _, err := parseCachePlace(text); err != nil {
			return err
		}
	}
	return nil
}

// OpenRemoteCache reads the list of a remote cache; where there is none yet, it is empty. With ErrCacheDamaged the cache is returned too,
// and is empty.
func (s *Store) OpenRemoteCache(ctx context.Context, place string, r Registry) (*RemoteCache, error) {
	at, err := parseCachePlace(place)
	if err != nil {
		return nil, err
	}
	sys, err := s.system(r, Platform{})
	if err == nil {
		err = s.permit(at.ref, r, sys)
	}
	if err != nil {
		return nil, err
	}
	c := &RemoteCache{s: s, place: place, ref: at.ref, dir: at.dir, mounts: at.mounts, least: at.least, z: at.z, sys: sys}
	defer c.lockLayout(flock.Shared)()
	return c, c.load(ctx)
}

// Least tells whether the place is to get the steps that the result stands on, and no others (mode=min).
func (c *RemoteCache) Least() bool { return c.least }

// Place is what the cache was opened with.
func (c *RemoteCache) Place() string { return c.place }

// ErrCacheDamaged says that a remote cache has a list that cannot be read; to write to it replaces that.
var ErrCacheDamaged = errors.New("its list is damaged")

// load reads the list. The caller has a lock of the layout.
func (c *RemoteCache) load(ctx context.Context) (err error) {
	c.steps, c.held = map[string][]remoteStep{}, map[string]remoteStep{}
	if !c.indexed() {
		return fmt.Errorf("%w: %s is no index of a layout", ErrCacheDamaged, c.index())
	}
	src, err := c.ref.NewImageSource(ctx, c.sys)
	if err != nil {
		return missing(err)
	}
	defer src.Close()
	raw, _, err := image.UnparsedInstance(src, nil).Manifest(ctx)
	if err != nil {
		return missing(err)
	}
	var m struct {
		Config types.BlobInfo `json:"config"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Config.MediaType != cacheType {
		return fmt.Errorf("%s holds something else than a build cache", c.place)
	}
	blob, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: m.Config.Digest, Size: m.Config.Size}, none.NoCache)
	if err != nil {
		if c.dir != "" || missing(err) == nil { // not a network that fails
			err = fmt.Errorf("%w: %w", ErrCacheDamaged, err)
		}
		return err
	}
	defer blob.Close()
	text, err := io.ReadAll(io.LimitReader(blob, maxCacheBytes+1))
	if err != nil && c.dir == "" {
		return err
	}
	if err != nil || digest.FromBytes(text) != m.Config.Digest {
		return ErrCacheDamaged
	}
	return c.parse(text)
}

// parse takes in a list. It is whoever's who may write to the place: of more steps than there may be the rest is left.
func (c *RemoteCache) parse(text []byte) error {
	var list []remoteStep
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("%w: %w", ErrCacheDamaged, err)
	}
	for _, step := range list[:min(len(list), maxCacheSteps)] {
		if step.Blob.Validate() == nil && step.DiffID.Validate() == nil && step.DiffID.Algorithm() == digest.SHA256 {
			c.list(step)
		}
	}
	return nil
}

// list puts a result, or what a mount holds, into the list.
func (c *RemoteCache) list(step remoteStep) {
	if isMount(step.Key) {
		c.held[step.Key] = step
		return
	}
	if c.lists(step) {
		return
	}
	c.steps[step.Key] = append(c.steps[step.Key], step)
	slices.SortStableFunc(c.steps[step.Key], func(a, b remoteStep) int { return b.Made.Compare(a.Made) })
}

// lists tells whether that very result is in the list.
func (c *RemoteCache) lists(step remoteStep) bool {
	return slices.ContainsFunc(c.steps[step.Key], func(have remoteStep) bool { return have.layer() == step.layer() })
}

// missing turns the errors that say that there is no list yet into none.
func missing(err error) error {
	text := strings.ToLower(err.Error())
	for _, sign := range []string{"manifest unknown", "name unknown", "not found", "no such file", "no image found"} {
		if strings.Contains(text, sign) {
			return nil
		}
	}
	return err
}

// Fetch stores the layer of a result over parent. Content that is not what the list says is an error.
func (c *RemoteCache) Fetch(ctx context.Context, r RemoteResult, parent string) (*Layer, error) {
	step := r.step
	id := layer.ID(parent, step.DiffID)
	if err := c.s.noteMade(id); err != nil { // before it is: nobody else would remove it
		return nil, err
	}
	if _, err := c.s.layerByID(id); errors.Is(err, ErrNoLayer) {
		if err := c.download(ctx, step, id, parent); err != nil {
			return nil, fmt.Errorf("build cache %s: %w", c.place, err)
		}
	}
	if err := c.s.st.AddNames(id, []string{layerName(step.Key)}); err != nil {
		return nil, err
	}
	if err := c.s.noteFetched(step.Key, step.Note, step.Made); err != nil {
		return nil, err
	}
	return c.s.layerByID(id)
}

func (c *RemoteCache) download(ctx context.Context, step remoteStep, id, parent string) (err error) {
	blob, err := c.open(ctx, step)
	if err != nil {
		return err
	}
	defer blob.Close()
	// Into a file first: nobody must wait for a registry who only wants to store a layer of his own.
	tmp, done, err := c.s.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	file, err := os.Create(filepath.Join(tmp, "layer"))
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, blob); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return c.put(step, id, parent, file)
}

// open opens what the list says of a step: so many bytes of it, as they come.
func (c *RemoteCache) open(ctx context.Context, step remoteStep) (io.ReadCloser, error) {
	src, err := c.source(ctx)
	if err != nil {
		return nil, err
	}
	blob, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: step.Blob, Size: step.Size}, none.NoCache)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return &sourceBlob{io.LimitReader(blob, step.Size), blob, src}, nil
}

// A sourceBlob is a blob whose source is closed with it.
type sourceBlob struct {
	io.Reader
	blob io.Closer
	src  types.ImageSource
}

// Close closes both.
func (b *sourceBlob) Close() error { return errors.Join(b.blob.Close(), b.src.Close()) }

// put makes a blob that has been fetched a layer.
func (c *RemoteCache) put(step remoteStep, id, parent string, blob io.Reader) error {
	dir, err := c.s.dir("")
	if err != nil {
		return err
	}
	lock, err := flock.Acquire(filepath.Join(dir, "layers.lock"), flock.Exclusive) // as all who make layers (package layer)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := c.s.keepTime(id, step.Made); err != nil {
		return err
	}
	l, _, err := c.s.st.PutLayer(id, parent, nil, "", false, nil, blob)
	if errors.Is(err, storage.ErrDuplicateID) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.UncompressedDigest != step.DiffID {
		return errors.Join(fmt.Errorf("a layer is %s instead of %s", l.UncompressedDigest, step.DiffID), c.s.st.DeleteLayer(id))
	}
	return nil
}

// keepTime keeps the time of a step whose layer was made elsewhere: so the image is the same here and there.
func (s *Store) keepTime(id string, made time.Time) error {
	dir, err := s.dir("times")
	if err != nil {
		return err
	}
	return replaceFile(dir, id, []byte(made.UTC().Format(time.RFC3339Nano)))
}

// keptTime is the time that was kept for a layer, or what storage says.
func (s *Store) keptTime(id string, stored time.Time) time.Time {
	text, err := os.ReadFile(filepath.Join(s.st.GraphRoot(), "slipway", "times", id))
	if err != nil {
		return stored.UTC()
	}
	made, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return stored.UTC()
	}
	return made
}

// Push adds steps, and what cache mounts hold if the place is for these too. Registries have no compare-and-swap: a step that another writer
// has overwritten each time costs a miss. It returns the keys that were new, and names of mounts; layers are compressed as z says, if not
// by gzip. An error may be about some of the mounts only.
func (c *RemoteCache) Push(ctx context.Context, steps []RemoteStep, mounts []CacheMount, z Compression) (added []string, err error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if c.z.Format != "" {
		z.Format = c.z.Format
	}
	if c.z.Level != nil {
		z.Level = c.z.Level
	}
	chosen, err := c.s.withCompression(PushOptions{Compression: z}, ispec.MediaTypeImageManifest)
	if err != nil {
		return nil, err
	}
	hold, err := c.writing()
	if err != nil {
		return nil, err
	}
	if hold != nil {
		defer hold.Close()
	}
	fresh, replaced := map[string]remoteStep{}, []string(nil)
	for _, step := range c.unserved(steps) {
		up, err := c.upload(ctx, step, chosen.Compression)
		if err != nil {
			return nil, err
		}
		if step.Fresh {
			replaced = append(replaced, step.Key)
		}
		added = append(added, step.Key)
		fresh[step.Key+" "+up.layer()] = up
	}
	var unsent error
	if c.mounts {
		unsent = c.uploadMounts(ctx, mounts, fresh)
		for _, m := range mounts {
			if _, ok := fresh[m.listed()]; ok {
				added = append(added, fmt.Sprintf("mount %q", m.ID))
			}
		}
	}
	if len(fresh) > 0 {
		if err := c.publish(ctx, fresh, replaced, hold); err != nil {
			return nil, err
		}
	}
	return added, unsent
}

// publish puts results into the list as it is now: while they were sent others may have added theirs. In a registry another writer who read it
// before that may replace it right after: so it is looked at again, a moment later, which is another one for each writer. Registries that get
// manifests of one tag from several at once may refuse them as well.
func (c *RemoteCache) publish(ctx context.Context, fresh map[string]remoteStep, replaced []string, hold *flock.Lock) error {
	for n := 1; ; n++ {
		wrote, err := c.publishOnce(ctx, fresh, replaced, hold)
		if n == publishTimes || err == nil && (!wrote || c.dir != "") {
			return err
		}
		if err == nil {
			replaced = nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(publishAgain + rand.N(2*publishAgain)): //nolint:gosec // no secret
		}
	}
}

// How often a list is written, and how soon again at the earliest.
const (
	publishTimes = 4
	publishAgain = 100 * time.Millisecond
)

func (c *RemoteCache) publishOnce(ctx context.Context, fresh map[string]remoteStep, replaced []string, hold *flock.Lock) (wrote bool, err error) {
	defer c.lockLayout(flock.Exclusive)()
	if err := c.load(ctx); err != nil && !errors.Is(err, ErrCacheDamaged) {
		return false, err
	}
	for _, key := range replaced {
		delete(c.steps, key)
	}
	for _, step := range fresh {
		have, ok := c.held[step.Key]
		if isMount(step.Key) && (!ok || have.Made.Before(step.Made)) || !isMount(step.Key) && !c.lists(step) {
			wrote = true
			c.list(step)
		}
	}
	if !wrote {
		return false, nil
	}
	if err := c.write(ctx); err != nil {
		return true, err
	}
	c.sweep(hold)
	return true, nil
}

// upload sends a layer, compressed.
func (c *RemoteCache) upload(ctx context.Context, step RemoteStep, z Compression) (up remoteStep, err error) {
	dest, err := c.destination(ctx)
	if err != nil {
		return up, err
	}
	defer dest.Close()
	alg, err := compression.AlgorithmByName(first(z.Format, "gzip"))
	if err != nil {
		return up, unknownCompression(z.Format)
	}
	plain := archive.Uncompressed
	diff, err := c.s.st.Diff("", step.Layer.ID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return up, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(errors.Join(pack(w, diff, alg, z.Level), diff.Close())) }()
	info, err := dest.PutBlob(ctx, r, types.BlobInfo{Size: -1}, none.NoCache, false)
	r.CloseWithError(context.Canceled) // ends the goroutine if it was not read to the end
	if err != nil {
		return up, err
	}
	up = entry(step)
	up.Blob, up.Size = info.Digest, info.Size
	if alg.Name() != compression.Gzip.Name() {
		up.MediaType = typeZstd
	}
	return up, nil
}

func pack(w io.Writer, plain io.Reader, alg compression.Algorithm, level *int) error {
	z, err := compression.CompressStream(w, alg, level)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, plain)
	return errors.Join(err, z.Close())
}

// write writes the list and the artifact that holds it and its layers.
func (c *RemoteCache) write(ctx context.Context) error {
	text, list, err := c.bounded()
	if err != nil {
		return err
	}
	type descriptor struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
	}
	layers := []descriptor{}
	seen := map[digest.Digest]bool{}
	for _, step := range list {
		if !seen[step.Blob] {
			layers = append(layers, descriptor{first(step.MediaType, typeGzip), step.Blob, step.Size})
			seen[step.Blob] = true
		}
	}
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": cacheType,
		"config": descriptor{cacheType, digest.FromBytes(text), int64(len(text))}, "layers": layers,
	})
	if err != nil {
		return err
	}
	dest, err := c.ref.NewImageDestination(ctx, c.sys)
	if err != nil {
		return err
	}
	defer dest.Close()
	config := types.BlobInfo{Digest: digest.FromBytes(text), Size: int64(len(text))}
	if _, err := dest.PutBlob(ctx, bytes.NewReader(text), config, none.NoCache, true); err != nil {
		return err
	}
	if err := dest.PutManifest(ctx, raw, nil); err != nil {
		return err
	}
	return dest.Commit(ctx, nil)
}

// bounded is the list as text, without what is too much.
func (c *RemoteCache) bounded() ([]byte, []remoteStep, error) {
	list := slices.Collect(maps.Values(c.held))
	for _, results := range c.steps {
		list = append(list, results...)
	}
	slices.SortFunc(list, func(a, b remoteStep) int {
		return cmp.Or(b.Made.Compare(a.Made), strings.Compare(a.Key, b.Key), strings.Compare(a.layer(), b.layer()))
	})
	for n := min(len(list), maxCacheSteps); ; n = n * 3 / 4 {
		text, err := json.Marshal(list[:n])
		if err != nil || len(text) <= maxCacheBytes {
			return text, list[:n], err
		}
	}
}
