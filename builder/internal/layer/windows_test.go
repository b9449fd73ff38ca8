package layer

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage"
)

// The descriptors are what ConvertStringSecurityDescriptorToSecurityDescriptor of Windows makes of the texts.
func TestDescriptors(t *testing.T) {
	file := "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACACAAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA=="
	if got := base64.StdEncoding.EncodeToString(fileDescriptor()); got != file {
		t.Errorf("file: %s", got)
	}
	if d := dirDescriptor(); len(d) != 48+8+5*24+20+20 {
		t.Errorf("directory: %d bytes", len(d))
	}
}

func TestWindows(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", func(t testing.TB, root string) {
			must(t, os.Mkdir(filepath.Join(root, "app"), 0o755))
			write(t, filepath.Join(root, "app/a.exe"), "x")
			must(t, os.Link(filepath.Join(root, "app/a.exe"), filepath.Join(root, "b.exe")))
		})
		plain := mustCommit(t, st, rw, "", Options{Move: move, Epoch: &testEpoch})
		o := Options{TempDir: t.TempDir(), Epoch: &testEpoch}
		res, err := Windows(context.Background(), st, plain.ID, "", o)
		must(t, err)
		blob := verify(t, st, "", res)
		var got []string
		for _, h := range entries(t, blob) {
			got = append(got, fmt.Sprintf("%s %s %s", h.Name, h.Linkname, h.PAXRecords["MSWINDOWS.fileattr"]))
			if when := h.PAXRecords["LIBARCHIVE.creationtime"]; when != "1500000000.000000000" || !h.ModTime.Equal(time.Unix(1_500_000_000, 0)) || h.PAXRecords["MSWINDOWS.rawsd"] == "" {
				t.Errorf("%s: %s, %v", h.Name, when, h.PAXRecords)
			}
		}
		want := []string{"Hives/  16", "Files/  16", "Files/app/  16", "Files/app/a.exe  32", "Files/b.exe Files/app/a.exe 32"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		again, err := Windows(context.Background(), st, res.ID, "", o)
		must(t, err)
		if again != res {
			t.Errorf("once more it is %+v, not %+v", again, res)
		}
		// What is squashed has lost the records, not the places.
		flat, err := Squash(context.Background(), st, res.ID, Options{Epoch: &testEpoch})
		must(t, err)
		flat, err = Windows(context.Background(), st, flat.ID, "", o)
		must(t, err)
		if !bytes.Equal(verify(t, st, "", flat), blob) {
			t.Error("squashed it is another")
		}
	})
}
