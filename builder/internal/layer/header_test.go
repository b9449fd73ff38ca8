package layer

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// standard is what archive/tar makes of the same entry.
func standard(t testing.TB, h *header) ([]byte, error) {
	t.Helper()
	var b bytes.Buffer
	std := &tar.Header{
		Typeflag: h.kind, Name: h.tarName(), Linkname: h.link, Size: h.size, Mode: int64(h.mode),
		Uid: int(h.uid), Gid: int(h.gid), ModTime: time.Unix(h.mtime, 0),
		Devmajor: int64(h.major), Devminor: int64(h.minor),
	}
	for _, x := range h.xattrs {
		if std.PAXRecords == nil {
			std.PAXRecords = map[string]string{}
		}
		std.PAXRecords["SCHILY.xattr."+x.name] = string(x.value)
	}
	err := tar.NewWriter(&b).WriteHeader(std)
	return b.Bytes(), err
}

func compareHeader(t testing.TB, h *header) {
	t.Helper()
	got, err := h.append(nil)
	want, stdErr := standard(t, h)
	if (err != nil) != (stdErr != nil) {
		t.Fatalf("%+v: got %v, archive/tar says %v", h, err, stdErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("%+v:\n got %q\nwant %q", h, got, want)
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60)
	tests := map[string]*header{
		"file":           {name: "a/b", kind: typeFile, mode: 0o644, size: 12, mtime: 1_600_000_000},
		"root":           {name: ".", kind: typeDir, mode: 0o755},
		"directory":      {name: "a", kind: typeDir, mode: 0o7777, uid: 1, gid: 2},
		"100 bytes":      {name: strings.Repeat("n", 100), kind: typeFile},
		"101 bytes":      {name: strings.Repeat("n", 101), kind: typeFile},
		"100 with slash": {name: strings.Repeat("n", 99), kind: typeDir},
		"two fields":     {name: long + "/" + long + "/" + long, kind: typeFile},
		"255 bytes":      {name: strings.Repeat("p", 155) + "/" + strings.Repeat("n", 100), kind: typeFile},
		"256 bytes":      {name: strings.Repeat("p", 155) + "/" + strings.Repeat("n", 101), kind: typeFile},
		"cut at slash":   {name: strings.Repeat("p", 99) + "/" + strings.Repeat("q", 200), kind: typeFile},
		"long directory": {name: long + "/" + strings.Repeat("n", 100), kind: typeDir},
		"not ascii":      {name: "größe", kind: typeFile},
		"not utf-8":      {name: "\xff\xfe/x", kind: typeDir},
		"link":           {name: "l", kind: typeSymlink, link: "to", mode: 0o777},
		"long link":      {name: "l", kind: typeSymlink, link: strings.Repeat(long+"/", 3), mode: 0o777},
		"odd link":       {name: "l", kind: typeLink, link: "\xff"},
		"big owners":     {name: "f", kind: typeFile, uid: 1 << 21, gid: 1<<32 - 1},
		"largest octal":  {name: "f", kind: typeFile, uid: 1<<21 - 1, gid: 1<<21 - 1, size: 1<<33 - 1, mtime: 1<<33 - 1},
		"big size":       {name: "f", kind: typeFile, size: 1 << 33},
		"late":           {name: "f", kind: typeFile, mtime: 1 << 33},
		"early":          {name: "f", kind: typeFile, mtime: -1},
		"device":         {name: "f", kind: typeChar, major: 4095, minor: 1<<20 - 1},
		"attributes": {name: long + "/" + long, kind: typeFile, xattrs: []xattr{
			{"security.capability", []byte{0, 1, 2}}, {"user.a", nil}, {"user.z", []byte("\n=")},
		}},
		"bad attribute": {name: "f", kind: typeFile, xattrs: []xattr{{"user.a=b", []byte("x")}}},
	}
	for n := 80; n < 110; n++ { // lengths at which the length of a record gets another digit
		tests["record "+strings.Repeat("i", n)] = &header{name: "f", kind: typeFile, xattrs: []xattr{{"user." + strings.Repeat("i", n), []byte("v")}}}
	}
	for name, h := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compareHeader(t, h)
		})
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("a/b", "", byte(0), uint32(0), uint32(0), int64(5), int64(0), "user.x", []byte("v"))
	f.Add(strings.Repeat("p/", 100)+"x", strings.Repeat("l", 101), byte(2), uint32(1<<30), uint32(7), int64(0), int64(-9), "", []byte{})
	f.Fuzz(func(t *testing.T, name, link string, kind byte, uid, gid uint32, size, mtime int64, key string, value []byte) {
		h := &header{name: name, link: link, kind: "0125"[kind%4], mode: uid & 0o7777, uid: uid, gid: gid, mtime: mtime}
		if h.kind == typeFile {
			h.size = max(0, size)
		}
		if h.kind == typeFile || h.kind == typeDir {
			h.link = ""
		}
		if key != "" {
			h.xattrs = []xattr{{"user." + key, value}}
		}
		// Names from a file system have no NUL and no doubtful slashes; archive/tar's times start elsewhere.
		if name == "" || strings.ContainsRune(name+link+key, 0) || filepath.Clean(name) != name || name[0] == '/' ||
			mtime < -1<<40 || mtime > 1<<40 {
			t.Skip()
		}
		compareHeader(t, h)
	})
}

// The records must be those that the library's own packer makes of the same tar.
func TestSplit(t *testing.T) {
	t.Parallel()
	var tarFile, ours, theirs bytes.Buffer
	file := filepath.Join(t.TempDir(), "content")
	content := bytes.Repeat([]byte("0123456789"), chunkSize/9*2)
	must(t, os.WriteFile(file, content, 0o600))
	src, err := os.Open(file)
	must(t, err)
	defer src.Close()
	w := newWriter(&tarFile, &ours)
	for _, h := range []*header{
		{name: "d", kind: typeDir}, {name: "d/e\"\xff", kind: typeFile}, {name: "d/ü", kind: typeFile},
		{name: "d/full", kind: typeFile, size: int64(len(content))}, {name: strings.Repeat("n", 300), kind: typeFile},
		{name: "z", kind: typeLink, link: "d/full"},
	} {
		must(t, w.header(h))
		if h.size > 0 {
			must(t, w.content(t.Context(), h, int(src.Fd()), -1, false))
		}
	}
	sum, err := w.close()
	must(t, err)
	if got := sum.Algorithm().FromBytes(tarFile.Bytes()); got != sum {
		t.Errorf("digest %s, want %s", sum, got)
	}
	if w.s.size != int64(tarFile.Len()) {
		t.Errorf("size %d, want %d", w.s.size, tarFile.Len())
	}
	r, err := asm.NewInputTarStream(bytes.NewReader(tarFile.Bytes()), tarsplit.NewJSONPacker(&theirs), nil)
	must(t, err)
	_, err = io.Copy(io.Discard, r)
	must(t, err)
	if got, want := records(t, &ours), records(t, &theirs); !slices.Equal(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// records reads tar-split records, with the raw bytes between two files put together.
func records(t *testing.T, r io.Reader) []string {
	var list []string
	var raw []byte
	for u := tarsplit.NewJSONUnpacker(r); ; {
		e, err := u.Next()
		if err == io.EOF {
			return append(list, string(raw))
		}
		must(t, err)
		if e.Type == tarsplit.SegmentType {
			raw = append(raw, e.Payload...)
			continue
		}
		list = append(list, string(raw))
		raw = nil
		e.Position = 0
		e.Name, e.NameRaw = "", e.GetNameBytes()
		b, err := json.Marshal(e)
		must(t, err)
		list = append(list, string(b))
	}
}
