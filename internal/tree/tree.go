// Package tree makes small root file systems for tests and packs them as images,
// without privilege and without any other tool: entries are values, and their
// owners and devices exist only in the layer that Layout writes.
//
// Machine makes a tree of this machine's own programs with the libraries they
// need, which is the base image of tests where nothing is installed and no network
// is there. Layout (layout.go) writes an OCI image layout; Read (read.go) is its
// inverse and applies the layers of any layout.
package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// A File is one entry of a tree.
type File struct {
	Name     string // slash-separated, without a leading slash
	Type     byte   // a tar type flag; zero is a regular file
	Mode     int64  // permission bits, with 04000 and friends
	UID, GID int
	Data     []byte
	Link     string // target of a symbolic or hard link
	Major    int64
	Minor    int64
	Mtime    time.Time
	Xattrs   map[string]string // PAX spelling, "user.name" -> value
}

// A Tree is a set of entries; the order does not matter.
type Tree []File

// Dir returns a directory with mode 0755 owned by root.
func Dir(name string) File { return File{Name: name, Type: tar.TypeDir, Mode: 0o755} }

// Regular returns a file with mode 0644 owned by root.
func Regular(name, content string) File {
	return File{Name: name, Type: tar.TypeReg, Mode: 0o644, Data: []byte(content)}
}

// Symlink returns a symbolic link owned by root.
func Symlink(name, target string) File {
	return File{Name: name, Type: tar.TypeSymlink, Mode: 0o777, Link: target}
}

// Tar writes the tree as a tar archive, sorted, with the parents that it lacks.
func (t Tree) Tar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, f := range t.complete() {
		if err := tw.WriteHeader(f.header()); err != nil {
			return fmt.Errorf("packing %s: %w", f.Name, err)
		}
		if _, err := tw.Write(f.Data); err != nil {
			return fmt.Errorf("packing %s: %w", f.Name, err)
		}
	}
	return tw.Close()
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Name: f.Name, Typeflag: f.Type, Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Data)),
		Linkname: f.Link, Devmajor: f.Major, Devminor: f.Minor, ModTime: f.Mtime,
	}
	if f.Type == 0 {
		h.Typeflag = tar.TypeReg
	}
	if f.Mtime.IsZero() {
		h.ModTime = time.Unix(1_000_000_000, 0)
	}
	if f.Type == tar.TypeDir {
		h.Name += "/"
	}
	for name, value := range f.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
	return h
}

// complete returns the entries sorted by name, each name once (the last wins),
// with missing parent directories added.
func (t Tree) complete() Tree {
	byName := map[string]File{}
	for _, f := range t {
		f.Name = path.Clean(strings.Trim(f.Name, "/"))
		byName[f.Name] = f
		for dir := path.Dir(f.Name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if _, ok := byName[dir]; !ok {
				byName[dir] = Dir(dir)
			}
		}
	}
	all := make(Tree, 0, len(byName))
	for _, f := range byName {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// fromHost reads one file, directory or symbolic link of the host.
func fromHost(host, name string) (File, error) {
	info, err := os.Lstat(host)
	if err != nil {
		return File{}, err
	}
	f := File{Name: name, Mode: int64(info.Mode().Perm())}
	switch {
	case info.IsDir():
		f.Type = tar.TypeDir
	case info.Mode()&fs.ModeSymlink != 0:
		f.Type = tar.TypeSymlink
		f.Link, err = os.Readlink(host)
	case info.Mode().IsRegular():
		f.Type = tar.TypeReg
		f.Data, err = os.ReadFile(host)
	default:
		err = fmt.Errorf("%s is neither a file, a directory nor a link", host)
	}
	return f, err
}
