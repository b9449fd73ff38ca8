package builder

import (
	"io/fs"
	"path/filepath"

	"github.com/containers/storage"
)

// LayerSizes are the bytes of all layers, of images and of the cache, by ID.
func (s *Store) LayerSizes() (map[string]int64, error) {
	layers, err := s.allLayers()
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for i := range layers {
		sizes[layers[i].ID] = max(layers[i].UncompressedSize, 0) // -1 is unknown
	}
	return sizes, nil
}

// treeSize is what the files below a directory hold, in bytes.
func treeSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what can not be read or is gone is not counted
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}

// A Use is one line of `system df`: how many there are of a kind, and what they take in bytes; Reclaimable is what removing the unused
// ones would free.
type Use struct {
	Kind              string
	Count             int
	Size, Reclaimable int64
}

// DiskUse tells what takes space in the store. Layers are counted once, however many images share them.
func (s *Store) DiskUse() ([]Use, error) {
	layers, err := s.allLayers()
	if err != nil {
		return nil, err
	}
	images, err := s.allImages()
	if err != nil {
		return nil, err
	}
	containers, err := s.allContainers()
	if err != nil {
		return nil, err
	}
	steps, err := s.CachedSteps()
	if err != nil {
		return nil, err
	}
	dirs, err := s.mountDirs("data")
	if err != nil {
		return nil, err
	}
	ofImages := Use{Kind: "Images", Count: len(images)}
	ofContainers := Use{Kind: "Containers", Count: len(containers)}
	cached := Use{Kind: "Build cache", Count: len(steps)}
	mounts := Use{Kind: "Cache mounts", Count: len(dirs)}
	cachedID := map[string]bool{}
	for _, step := range steps {
		cachedID[step.ID] = true
		cached.Size += step.Size
	}
	writable := map[string]bool{}
	used := map[string]bool{}
	for i := range containers {
		writable[containers[i].LayerID] = true
		used[containers[i].ImageID] = true
		if n, err := s.st.DiffSize("", containers[i].LayerID); err == nil {
			ofContainers.Size += n
		}
	}
	left := leftBases(layers, images, steps)
	for i := range layers {
		switch id := layers[i].ID; {
		case left[id]:
			cached.Size += layers[i].UncompressedSize
		case !cachedID[id] && !writable[id]:
			ofImages.Size += layers[i].UncompressedSize
		}
	}
	cached.Reclaimable = cached.Size
	ofImages.Reclaimable = reclaimable(layers, images, used)
	for _, dir := range dirs {
		mounts.Size += treeSize(filepath.Join(dir, "data"))
	}
	mounts.Reclaimable = mounts.Size
	return []Use{ofImages, ofContainers, cached, mounts}, nil
}

// leftBases are the layers of deleted images that only cached steps stand on.
func leftBases(layers []storage.Layer, images []storage.Image, steps []CachedStep) map[string]bool {
	parent := make(map[string]string, len(layers))
	for i := range layers {
		parent[layers[i].ID] = layers[i].Parent
	}
	left := map[string]bool{}
	for i := range steps {
		for id := parent[steps[i].ID]; id != "" && !left[id]; id = parent[id] {
			left[id] = true
		}
	}
	for i := range images {
		for id := images[i].TopLayer; id != ""; id = parent[id] {
			delete(left, id)
		}
	}
	for i := range steps {
		delete(left, steps[i].ID)
	}
	return left
}

// reclaimable is the size of the layers that only images have that are not in use.
func reclaimable(layers []storage.Layer, images []storage.Image, used map[string]bool) (size int64) {
	byID := map[string]*storage.Layer{}
	for i := range layers {
		byID[layers[i].ID] = &layers[i]
	}
	keep, all := map[string]bool{}, map[string]bool{}
	for i := range images {
		for l := byID[images[i].TopLayer]; l != nil; l = byID[l.Parent] {
			all[l.ID] = true
			if used[images[i].ID] {
				keep[l.ID] = true
			}
		}
	}
	for id := range all {
		if !keep[id] {
			size += byID[id].UncompressedSize
		}
	}
	return size
}
