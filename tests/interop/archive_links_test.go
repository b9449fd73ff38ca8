package interop

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"
)

// TestArchiveLinks: an oci-archive whose links lead out writes nothing there, and nothing is read through them or waited for.
func TestArchiveLinks(t *testing.T) {
	t.Parallel()
	s := shared.NewStore(t)
	outside := filepath.Join(s.Dir, "outside")
	write(t, s, "outside/index.json", `{"schemaVersion":2,"manifests":[]}`)
	for name, entries := range map[string][]tar.Header{
		"a link to a directory": {{Name: "blobs", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "blobs/written", Typeflag: tar.TypeReg}},
		"a link up":             {{Name: "blobs", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../.." + outside}, {Name: "blobs/written", Typeflag: tar.TypeReg}},
		"a name that leads up":  {{Name: "../../../../../../../.." + outside + "/written", Typeflag: tar.TypeReg}},
		"an absolute name":      {{Name: outside + "/written", Typeflag: tar.TypeReg}},
		"a link to a file":      {{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: outside + "/written"}, {Name: "index.json", Typeflag: tar.TypeReg}},
		"a hard link":           {{Name: "index.json", Typeflag: tar.TypeLink, Linkname: outside + "/index.json"}},
		"a pipe":                {{Name: "index.json", Typeflag: tar.TypeFifo}},
	} {
		file := filepath.Join(s.Dir, "hostile.tar")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		for i := range entries {
			entries[i].Mode = 0o644
			if err := w.WriteHeader(&entries[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, command := range [][]string{
			{"pull", "-q", "oci-archive:" + file}, {"inspect", "oci-archive:" + file}, {"push", "-q", "oci-archive:" + file, "dir:" + s.Dir + "/d"},
			{"load", "-q", "-i", file},
		} {
			if _, stderr, err := s.Try(s.Argv(command...)...); err == nil {
				t.Errorf("%s: %v succeeded: %s", name, command, stderr)
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
				t.Fatalf("%s: %v wrote outside: %v, %v", name, command, left, err)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v %v", left, err)
	}
}
