package tree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// An Image is what a layout says of its first image, every digest checked.
type Image struct {
	ManifestDigest string
	Manifest       []byte
	Config         []byte
	Layers         []Tree // as stored: with whiteouts, sorted as in the archive
}

// Read reads the first image of an OCI image layout. It fails when a blob does
// not have the digest or size that names it, when a layer does not have the
// diffID of the configuration, or when the history does not count the layers.
func Read(dir string) (*Image, error) {
	body, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	var top index
	if err := json.Unmarshal(body, &top); err != nil || len(top.Manifests) == 0 {
		return nil, fmt.Errorf("%s/index.json names no image: %w", dir, err)
	}
	img := &Image{ManifestDigest: top.Manifests[0].Digest}
	if img.Manifest, err = readBlob(dir, top.Manifests[0]); err != nil {
		return nil, err
	}
	var m imageManifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		return nil, err
	}
	if img.Config, err = readBlob(dir, m.Config); err != nil {
		return nil, err
	}
	return img, img.readLayers(dir, m.Layers)
}

// readLayers reads the layers and compares them with the configuration.
func (img *Image) readLayers(dir string, layers []descriptor) error {
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []struct {
			EmptyLayer bool `json:"empty_layer"`
		} `json:"history"`
	}
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return err
	}
	full := 0
	for _, h := range config.History {
		if !h.EmptyLayer {
			full++
		}
	}
	if len(config.RootFS.DiffIDs) != len(layers) || (len(config.History) > 0 && full != len(layers)) {
		return fmt.Errorf("%d layers, %d diffIDs, %d history entries with a layer", len(layers), len(config.RootFS.DiffIDs), full)
	}
	for i, d := range layers {
		packed, err := readBlob(dir, d)
		if err != nil {
			return err
		}
		plain, err := unpack(packed)
		if err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		if got := digestOf(plain); got != config.RootFS.DiffIDs[i] {
			return fmt.Errorf("layer %s holds %s, the configuration says %s", d.Digest, got, config.RootFS.DiffIDs[i])
		}
		t, err := FromTar(bytes.NewReader(plain))
		if err != nil {
			return err
		}
		img.Layers = append(img.Layers, t)
	}
	return nil
}

func readBlob(dir string, d descriptor) ([]byte, error) {
	if !strings.HasPrefix(d.Digest, "sha256:") {
		return nil, fmt.Errorf("digest %q is not SHA-256", d.Digest)
	}
	body, err := os.ReadFile(blobPath(dir, d.Digest))
	if err != nil {
		return nil, err
	}
	if got := digestOf(body); got != d.Digest || int64(len(body)) != d.Size {
		return nil, fmt.Errorf("blob %s (%d bytes) has digest %s and %d bytes", d.Digest, d.Size, got, len(body))
	}
	return body, nil
}

// unpack removes gzip compression, if there is any.
func unpack(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		return body, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zr)
}

// FromTar reads a tar archive into a tree, in the archive's order.
func FromTar(r io.Reader) (Tree, error) {
	var t Tree
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		f := File{
			Name: path.Clean(h.Name), Type: h.Typeflag, Mode: h.Mode, UID: h.Uid, GID: h.Gid, Link: h.Linkname,
			Major: h.Devmajor, Minor: h.Devminor, Mtime: h.ModTime,
		}
		for name, value := range h.PAXRecords {
			if attr, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
				if f.Xattrs == nil {
					f.Xattrs = map[string]string{}
				}
				f.Xattrs[attr] = value
			}
		}
		if f.Data, err = io.ReadAll(tr); err != nil {
			return nil, err
		}
		t = append(t, f)
	}
}

// Merge applies layers in order, whiteouts included, and returns the result
// sorted by name.
func Merge(layers ...Tree) Tree {
	merged := map[string]File{}
	for _, layer := range layers {
		for _, f := range layer { // whiteouts speak of the layers below only
			dir, base := path.Split(f.Name)
			switch {
			case base == ".wh..wh..opq":
				remove(merged, path.Clean(dir), false)
			case strings.HasPrefix(base, ".wh."):
				remove(merged, path.Join(dir, strings.TrimPrefix(base, ".wh.")), true)
			}
		}
		for _, f := range layer {
			if strings.HasPrefix(path.Base(f.Name), ".wh.") || f.Name == "." {
				continue
			}
			if old, ok := merged[f.Name]; ok && old.Type == tar.TypeDir && f.Type != tar.TypeDir {
				remove(merged, f.Name, true)
			}
			merged[f.Name] = f
		}
	}
	t := make(Tree, 0, len(merged))
	for _, f := range merged {
		t = append(t, f)
	}
	return t.complete()
}

// remove deletes what is below name, and name itself if asked to.
func remove(files map[string]File, name string, self bool) {
	for other := range files {
		if strings.HasPrefix(other, name+"/") || (self && other == name) {
			delete(files, other)
		}
	}
}

// String lists a tree, an entry a line: type and mode, owner, size, name, target.
func (t Tree) String() string {
	var b strings.Builder
	for _, f := range t {
		fmt.Fprintf(&b, "%c%04o %d:%d %d /%s", letter(f.Type), f.Mode&0o7777, f.UID, f.GID, len(f.Data), f.Name)
		switch f.Type {
		case tar.TypeSymlink, tar.TypeLink:
			fmt.Fprintf(&b, " -> %s", f.Link)
		case tar.TypeChar, tar.TypeBlock:
			fmt.Fprintf(&b, " %d,%d", f.Major, f.Minor)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func letter(t byte) rune {
	switch t {
	case tar.TypeDir:
		return 'd'
	case tar.TypeSymlink:
		return 'l'
	case tar.TypeLink:
		return 'h'
	case tar.TypeChar:
		return 'c'
	case tar.TypeBlock:
		return 'b'
	case tar.TypeFifo:
		return 'p'
	default:
		return '-'
	}
}
