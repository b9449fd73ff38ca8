package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
)

// Where Windows looks for a layer's registry and its files.
const (
	hivesDir = "Hives"
	filesDir = "Files"
)

// Windows stores the diff of the layer id once more, over another parent, as Windows reads layers (exact.md, containers.md §11.2): all is below
// Files, beside Hives, and has attributes and owners of Windows. What is there already stays where it is. A layer that is one of Windows
// is stored as it is.
func Windows(ctx context.Context, st storage.Store, id, parent string, o Options) (res Result, err error) {
	f, err := unlinked(o.TempDir)
	if err != nil {
		return res, err
	}
	defer f.Close()
	var seen surveyed
	if err := eachEntry(ctx, st, id, o.TempDir, seen.entry); err != nil {
		return res, err
	}
	if seen.windows {
		return Restack(ctx, st, id, parent, o)
	}
	sum := digest.SHA256.Digester()
	w := tar.NewWriter(io.MultiWriter(f, sum.Hash()))
	for _, name := range []string{hivesDir, filesDir} {
		if err := writeWindows(w, &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: seen.newest}, nil); err != nil {
			return res, err
		}
	}
	err = eachEntry(ctx, st, id, o.TempDir, func(h *tar.Header, r io.Reader) error { return seen.place(w, h, r) })
	if err := errors.Join(err, w.Close()); err != nil {
		return res, fmt.Errorf("writing layer %s for Windows: %w", id, err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return res, err
	}
	res = Result{ID: ID(parent, sum.Digest()), DiffID: sum.Digest(), Size: size}
	t := &task{ctx: ctx, st: st, rw: &storage.Layer{}, parent: parent, o: o}
	return res, t.place(res.ID, func(names []string) error { return t.put(res, names, f) })
}

// eachEntry reads a layer's tar.
func eachEntry(ctx context.Context, st storage.Store, id, dir string, f func(*tar.Header, io.Reader) error) error {
	in, err := ReadTar(st, id, dir)
	if err != nil {
		return err
	}
	defer in.Close()
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = f(h, r)
		}
		if err != nil {
			return fmt.Errorf("reading layer %s: %w", id, err)
		}
	}
}

// surveyed is what has to be known of a layer before it is written: the newest time, whether it is one of Windows, and whether both
// directories are there, as in what was squashed.
type surveyed struct {
	newest       time.Time
	windows      bool
	hives, files bool
}

func (s *surveyed) entry(h *tar.Header, _ io.Reader) error {
	if h.ModTime.After(s.newest) {
		s.newest = h.ModTime
	}
	_, own := h.PAXRecords["MSWINDOWS.rawsd"]
	name := path.Clean(h.Name)
	s.windows, s.hives, s.files = s.windows || own, s.hives || name == hivesDir, s.files || name == filesDir
	return nil
}

// place writes an entry where Windows has it.
func (s *surveyed) place(w *tar.Writer, h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	switch {
	case name == ".", s.placed(name) && (name == hivesDir || name == filesDir):
		return nil // written already
	case !s.placed(name):
		h.Name = filesDir + "/" + h.Name
		if h.Typeflag == tar.TypeLink {
			h.Linkname = filesDir + "/" + h.Linkname
		}
	}
	return writeWindows(w, h, r)
}

func (s *surveyed) placed(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	return s.hives && s.files && (top == hivesDir || top == filesDir)
}

func writeWindows(w *tar.Writer, h *tar.Header, r io.Reader) error {
	attributes, descriptor := "32", fileDescriptor
	if h.Typeflag == tar.TypeDir {
		attributes, descriptor = "16", dirDescriptor
	}
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords["MSWINDOWS.fileattr"] = attributes
	h.PAXRecords["MSWINDOWS.rawsd"] = base64.StdEncoding.EncodeToString(descriptor())
	h.PAXRecords["LIBARCHIVE.creationtime"] = fmt.Sprintf("%d.%09d", h.ModTime.Unix(), h.ModTime.Nanosecond())
	h.Format = tar.FormatPAX
	if err := w.WriteHeader(h); err != nil || r == nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

// An ace allows an account something.
type ace struct {
	flags byte
	mask  uint32
	sid   []byte
}

// Flags of an ace: what below a directory inherits it.
const (
	objects     = 1
	containers  = 2
	inheritOnly = 8
)

// dirDescriptor is O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU).
func dirDescriptor() []byte {
	return descriptor(
		ace{objects | containers, 0x1f01ff, administrators()}, ace{objects | containers, 0x1f01ff, system()}, ace{0, 0x1f01ff, administrators()},
		ace{objects | containers | inheritOnly, 0x10000000, sid(3, 0)}, ace{objects | containers, 0x1200a9, users()},
		ace{containers, 4, users()}, ace{containers, 2, users()})
}

// fileDescriptor is O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU).
func fileDescriptor() []byte {
	return descriptor(ace{0, 0x1f01ff, administrators()}, ace{0, 0x1f01ff, system()}, ace{0, 0x1200a9, users()})
}

func administrators() []byte { return sid(5, 32, 544) }
func users() []byte          { return sid(5, 32, 545) }
func system() []byte         { return sid(5, 18) }

// sid is a security identifier as in memory: S-1-AUTHORITY-SUB….
func sid(authority byte, sub ...uint32) []byte {
	b := []byte{1, byte(len(sub)), 0, 0, 0, 0, 0, authority}
	for _, s := range sub {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

// descriptor is a self-relative security descriptor: a header with offsets, owner, group, list of who may what.
func descriptor(aces ...ace) []byte {
	var list bytes.Buffer
	for _, a := range aces {
		head := []byte{0, a.flags} // access allowed
		head = binary.LittleEndian.AppendUint16(head, uint16(8+len(a.sid)))
		head = binary.LittleEndian.AppendUint32(head, a.mask)
		list.Write(append(head, a.sid...))
	}
	acl := []byte{2, 0}
	acl = binary.LittleEndian.AppendUint16(acl, uint16(8+list.Len()))
	acl = binary.LittleEndian.AppendUint16(acl, uint16(len(aces)))
	acl = append(acl, 0, 0)
	owner, group := administrators(), system()
	b := []byte{1, 0, 0x04, 0x80} // revision 1; the list is there, all is relative
	for _, at := range []int{20, 20 + len(owner), 0, 20 + len(owner) + len(group)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(at))
	}
	for _, part := range [][]byte{owner, group, acl, list.Bytes()} {
		b = append(b, part...)
	}
	return b
}
