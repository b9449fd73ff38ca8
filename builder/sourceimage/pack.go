package sourceimage

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// pack writes a file, or what is in a directory, as a compressed tar among the blobs, and describes it. The same content with the same
// times makes the same bytes.
func (l layout) pack(path string) (d descriptor, err error) {
	tmp, err := os.CreateTemp(filepath.Join(l.dir, "blobs", "sha256"), ".new-")
	if err != nil {
		return d, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	sum := digest.SHA256.Digester()
	z := gzip.NewWriter(io.MultiWriter(tmp, sum.Hash()))
	t := tar.NewWriter(z)
	if err := addTree(t, path); err != nil {
		return d, err
	}
	if err := errors.Join(t.Close(), z.Close(), tmp.Chmod(0o644)); err != nil {
		return d, err
	}
	size, err := tmp.Seek(0, io.SeekCurrent)
	if err != nil {
		return d, err
	}
	d = descriptor{MediaType: layerType, Digest: sum.Digest(), Size: size}
	if err := os.Rename(tmp.Name(), l.blob(d.Digest)); err != nil {
		return d, err
	}
	return d, tmp.Close()
}

// addTree adds a file under its own name, or everything below a directory. The path itself may be a link; those below are kept as links.
func addTree(t *tar.Writer, path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return addEntry(t, path, filepath.Base(path), fi)
	}
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == path {
			return err
		}
		rel, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		return addEntry(t, name, rel, fi)
	})
}

func addEntry(t *tar.Writer, path, name string, fi fs.FileInfo) error {
	link := ""
	switch fi.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither a file nor a directory nor a symbolic link", path)
	}
	h, err := tar.FileInfoHeader(fi, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	if fi.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}
