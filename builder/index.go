package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
	"github.com/slipway-build/slipway/internal/flock"
)

// instancesKey is the big data item in which the family keeps where the entries of a list are:
// digest -> TRANSPORT:REST, and the list's own ID under the empty key.
const instancesKey = "instances.json"

// An Index is a manifest list in local storage, as it was when it was read. Entries may be local images, images in
// a registry that were never pulled, and artifacts made of files.
type Index struct {
	s     *Store
	rec   storage.Image
	list  *manifest.Index
	where map[digest.Digest]string
}

// ID is the list's identity in storage. It does not change when the list does.
func (x *Index) ID() string { return x.rec.ID }

// Names are full references, "registry/repository:tag".
func (x *Index) Names() []string { return x.rec.Names }

// JSON is the list as it would be sent.
func (x *Index) JSON() ([]byte, error) { return x.list.JSON() }

// Index finds a local list by name or ID. The error is ErrNoImage, or says that the image is not a list.
func (s *Store) Index(nameOrID string) (*Index, error) {
	rec, err := s.findImage(nameOrID)
	if err != nil {
		return nil, err
	}
	return s.index(rec)
}

func (s *Store) index(rec *storage.Image) (*Index, error) {
	raw, err := s.st.ImageBigData(rec.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("reading manifest list %s: %w", rec.ID, err)
	}
	x := &Index{s: s, rec: *rec, where: map[digest.Digest]string{}}
	if x.list, err = manifest.ParseIndex(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", first(append(rec.Names, rec.ID)...), err)
	}
	if raw, err = s.st.ImageBigData(rec.ID, instancesKey); err == nil {
		if err := json.Unmarshal(raw, &x.where); err != nil {
			return nil, fmt.Errorf("reading manifest list %s: %w", rec.ID, err)
		}
		delete(x.where, "")
	}
	return x, nil
}

// isIndex tells whether a storage record is a list. It reads nothing for an ordinary image.
func (s *Store) isIndex(rec *storage.Image) bool {
	if rec.TopLayer != "" {
		return false
	}
	_, err := s.index(rec)
	return err == nil
}

// Index returns the list that the image is, nil if it is an ordinary image.
func (i *Image) Index() *Index {
	if i.rec.TopLayer != "" {
		return nil
	}
	x, err := i.s.index(&i.rec)
	if err != nil {
		return nil
	}
	return x
}

// lockIndexes keeps the lists of this storage to one editor at a time, so that parallel `manifest add` lose nothing.
func (s *Store) lockIndexes() (*flock.Lock, error) {
	dir, err := s.dir("")
	if err != nil {
		return nil, err
	}
	return flock.Acquire(filepath.Join(dir, "lists.lock"), flock.Exclusive)
}

// editIndex applies edit to a list as it is at that moment and stores it.
func (s *Store) editIndex(nameOrID string, edit func(*Index) error) (*Index, error) {
	lock, err := s.lockIndexes()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	x, err := s.Index(nameOrID)
	if err != nil {
		return nil, err
	}
	if err := edit(x); err != nil {
		return nil, err
	}
	return x, x.save()
}

// save writes the list. Where entries are is written first: a crash between leaves a place too many, never one too few.
func (x *Index) save() error {
	raw, where, err := x.blobs()
	if err != nil {
		return err
	}
	asIs := func([]byte) (digest.Digest, error) { return digest.FromBytes(raw), nil }
	err = x.s.st.SetImageBigData(x.rec.ID, instancesKey, where, nil)
	if err == nil {
		err = x.s.st.SetImageBigData(x.rec.ID, storage.ImageDigestBigDataKey, raw, asIs)
	}
	if err != nil {
		return fmt.Errorf("writing manifest list %s: %w", x.rec.ID, err)
	}
	return nil
}

func (x *Index) blobs() (raw, where []byte, err error) {
	if raw, err = x.list.JSON(); err != nil {
		return nil, nil, err
	}
	places := map[string]string{"": x.rec.ID}
	for d, place := range x.where {
		if x.list.Find(d) != nil {
			places[d.String()] = place
		}
	}
	where, err = json.Marshal(places)
	return raw, where, err
}

// newIndex stores an empty list under a name, which another image then loses.
func (s *Store) newIndex(name string) (*Index, error) {
	return s.storeIndex(&Index{s: s, list: manifest.NewIndex(), where: map[digest.Digest]string{}}, []string{name})
}

// storeIndex stores a list under an ID of its own, with names, which other images then lose.
func (s *Store) storeIndex(x *Index, names []string) (*Index, error) {
	x.rec = storage.Image{ID: newID()}
	raw, where, err := x.blobs()
	if err != nil {
		return nil, err
	}
	d := digest.FromBytes(raw)
	rec, err := s.st.CreateImage(x.rec.ID, nil, "", "", &storage.ImageOptions{
		CreationDate: s.o.Now().UTC(), Digest: d,
		BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: d},
			{Key: instancesKey, Data: where, Digest: digest.FromBytes(where)},
		},
	})
	if err == nil && len(names) > 0 {
		if err = s.st.AddNames(rec.ID, names); err != nil {
			err = errors.Join(err, s.deleteRecord(rec.ID))
		}
	}
	if err == nil {
		rec, err = s.st.Image(rec.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("creating manifest list %s: %w", strings.Join(names, " "), translate(err))
	}
	x.rec = *rec
	return x, nil
}

// RemoveIndex removes a name from a list, and the list with it when that was its last one; a list given by ID is deleted, with names
// also if it has several. The images in it stay.
func (s *Store) RemoveIndex(nameOrID string, names bool) (Removed, error) {
	x, err := s.Index(nameOrID)
	if err != nil {
		return Removed{}, err
	}
	if r, done, err := s.untag(&x.rec, nameOrID, names); done {
		return r, err
	}
	if err := s.deleteRecord(x.rec.ID); err != nil {
		return Removed{}, err
	}
	return Removed{Untagged: x.rec.Names, Deleted: []string{x.rec.ID}}, nil
}

// localImage returns the storage ID that a place names, or "". The family writes containers-storage:[STORE]@ID;
// the store is ours, wherever it was when that was written.
func localImage(place string) string {
	at := strings.LastIndex(place, "@")
	if !strings.HasPrefix(place, storagePrefix) || at < 0 {
		return ""
	}
	id, ok := imageID(place[at+1:])
	if !ok || len(id) != 64 {
		return ""
	}
	return id
}
