package layer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

func eachVariant(t *testing.T, f func(t *testing.T, st storage.Store, move bool)) {
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) { f(t, openStore(t, v.driver), v.move) })
	}
}

// A layer that storage itself makes of its own Diff shows the same tree.
func TestStorageOracle(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", baseTree)
		base := mustCommit(t, st, rw, "", Options{Move: true})
		rw, _ = work(t, st, base.ID, func(t testing.TB, root string) {
			changeTree(t, root)
			must(t, os.Remove(filepath.Join(root, "new/before")))
		})
		theirs, _, err := st.PutLayer("", base.ID, nil, "", false, nil, strings.NewReader(string(readDiff(t, st, rw))))
		must(t, err)
		ours := mustCommit(t, st, rw, base.ID, Options{Move: move})
		_, want := work(t, st, theirs.ID, nil)
		_, got := work(t, st, ours.ID, nil)
		sameTrees(t, got, want)
	})
}

// The image library reads a stored layer back, and finds it again when the image is copied in once more.
func TestTransport(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", baseTree)
		a := mustCommit(t, st, rw, "", Options{Move: move})
		rw, _ = work(t, st, a.ID, changeTree)
		b := mustCommit(t, st, rw, a.ID, Options{Move: move})
		cfg := []byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s","%s"]}}`, a.DiffID, b.DiffID))
		man := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`,
			digest.FromBytes(cfg), len(cfg), a.DiffID, a.Size, b.DiffID, b.Size))
		id, md := digest.FromBytes(cfg).Encoded(), digest.FromBytes(man)
		_, err := st.CreateImage(id, []string{"localhost/x:latest"}, b.ID, "", &storage.ImageOptions{Digest: md, BigData: []storage.ImageBigDataOption{
			{Key: digest.FromBytes(cfg).String(), Data: cfg, Digest: digest.FromBytes(cfg)}, {Key: storage.ImageDigestBigDataKey, Data: man, Digest: md}}})
		must(t, err)
		policy, err := signature.NewPolicyContext(&signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}})
		must(t, err)
		src, err := istorage.Transport.ParseStoreReference(st, "localhost/x:latest")
		must(t, err)
		dir := t.TempDir()
		dst, err := directory.NewReference(dir)
		must(t, err)
		o := &copy.Options{SourceCtx: &types.SystemContext{BigFilesTemporaryDir: t.TempDir()}, DestinationCtx: &types.SystemContext{BigFilesTemporaryDir: t.TempDir()}}
		_, err = copy.Image(context.Background(), policy, dst, src, o)
		must(t, err)
		for _, r := range []Result{a, b} {
			blob, err := os.ReadFile(filepath.Join(dir, r.DiffID.Encoded()))
			must(t, err)
			if digest.FromBytes(blob) != r.DiffID {
				t.Errorf("%s differs outside", r.DiffID)
			}
		}
		before, _ := st.Layers()
		back, err := istorage.Transport.ParseStoreReference(st, "localhost/y:latest")
		must(t, err)
		_, err = copy.Image(context.Background(), policy, back, dst, o)
		must(t, err)
		after, _ := st.Layers()
		if len(after) != len(before) {
			t.Errorf("%d layers after copying in what is there, %d before", len(after), len(before))
		}
		if img, err := st.Image("localhost/y:latest"); err != nil || img.TopLayer != b.ID {
			t.Errorf("image %+v, %v: want top layer %s", img, err, b.ID)
		}
	})
}

// Recorded owners are what the tar says, and believed only in a store that records them.
func TestRecords(t *testing.T) {
	for _, own := range []rootfs.Ownership{rootfs.Apply, rootfs.Record} {
		eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
			rw, _ := work(t, st, "", func(t testing.TB, root string) {
				write(t, filepath.Join(root, "f"), "x")
				write(t, filepath.Join(root, "n"), "")
				must(t, unix.Setxattr(filepath.Join(root, "f"), "user.containers.override_stat", []byte("7:8:4755"), 0),
					unix.Setxattr(filepath.Join(root, "n"), "user.containers.override_stat", []byte("0:0:0666:char-1-3"), 0))
			})
			res := mustCommit(t, st, rw, "", Options{Move: move, Ownership: own})
			l := entries(t, readDiff(t, st, res.ID))
			if len(l) != 2 || len(l[0].PAXRecords) > 0 {
				t.Fatalf("got %+v", l)
			}
			rec := l[0].Uid == 7 && l[0].Gid == 8 && l[0].Mode == 0o4755 && l[1].Typeflag == '3' && l[1].Devmajor == 1 && l[1].Devminor == 3
			raw := l[0].Uid == 0 && l[0].Mode == 0o644 && l[1].Typeflag == '0'
			if own == rootfs.Record && !rec || own == rootfs.Apply && !raw {
				t.Errorf("%v: %+v %+v", own, l[0], l[1])
			}
			noStaging(t, st)
		})
	}
}

// Owners in a container with ID maps are the container's.
func TestIDMaps(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		m := []idtools.IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		rw, _ := work(t, st, "", baseTree)
		base := mustCommit(t, st, rw, "", Options{})
		lo := &storage.LayerOptions{IDMappingOptions: storage.IDMappingOptions{UIDMap: m, GIDMap: m}}
		l, err := st.CreateLayer("", base.ID, nil, "", true, lo)
		must(t, err)
		if len(l.UIDMap) == 0 {
			t.Skip("storage shifts owners when it mounts")
		}
		in(t, st, l.ID, func(t testing.TB, root string) {
			write(t, filepath.Join(root, "f"), "x")
			must(t, os.Chown(filepath.Join(root, "f"), 100005, 100006))
		})
		res := mustCommit(t, st, l.ID, base.ID, Options{Move: move})
		h := entries(t, verify(t, st, base.ID, res))
		if len(h) != 1 || h[0].Uid != 5 || h[0].Gid != 6 {
			t.Errorf("got %+v", h)
		}
	})
}

// So they are where storage shifts owners as it mounts, file capabilities for its root too; the layer is over the image's own, and other
// owners were put there from outside.
func TestContainerIDs(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		m := []idtools.IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		rw, _ := work(t, st, "", baseTree)
		base := mustCommit(t, st, rw, "", Options{})
		img, err := st.CreateImage("", nil, base.ID, "", nil)
		must(t, err)
		c, err := st.CreateContainer("", nil, img.ID, "", "", &storage.ContainerOptions{IDMappingOptions: storage.IDMappingOptions{UIDMap: m, GIDMap: m}})
		must(t, err)
		capability := []byte{1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0x86, 1, 0} // for the user 100000
		in(t, st, c.ID, func(t testing.TB, root string) {
			for name, uid := range map[string]int{"mine": 100005, "host": 7, "cap": 100000} {
				write(t, filepath.Join(root, name), name)
				must(t, os.Chown(filepath.Join(root, name), uid, 100006))
			}
			must(t, os.Link(filepath.Join(root, "mine"), filepath.Join(root, "same")),
				unix.Setxattr(filepath.Join(root, "cap"), "security.capability", capability, 0))
		})
		ids := &idmap.IDs{UIDs: ranges(m), GIDs: ranges(m)}
		res := mustCommit(t, st, c.LayerID, base.ID, Options{Move: move, IDs: ids, Container: c.ID, AllowEmpty: true})
		var got []string
		for _, h := range entries(t, verify(t, st, base.ID, res)) {
			got = append(got, fmt.Sprintf("%s %d:%d %x", h.Name, h.Uid, h.Gid, h.PAXRecords["SCHILY.xattr.security.capability"]))
		}
		want := []string{"cap 0:6 0100000200040000000000000000000000000000", "host 7:6 ", "mine 5:6 ", "same 5:6 "}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Several builders that store the same layer at once all get it.
func TestConcurrent(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		var rws []string
		for range 6 {
			rw, _ := work(t, st, "", baseTree)
			rws = append(rws, rw)
		}
		var wg sync.WaitGroup
		got := make([]Result, len(rws))
		for i, rw := range rws {
			wg.Add(1)
			go func() {
				defer wg.Done()
				res, err := Commit(context.Background(), st, rw, "", Options{Move: move, TempDir: os.TempDir(), Names: []string{"n"}})
				if err != nil {
					t.Error(err)
				}
				got[i] = res
			}()
		}
		wg.Wait()
		if len(slices.Compact(got)) != 1 {
			t.Errorf("got %+v", got)
		}
		verify(t, st, "", got[0])
	})
}

// A mounted container is copied even if it is said to be spent; a cancelled commit leaves nothing.
func TestMountedAndCancelled(t *testing.T) {
	st := openStore(t, "overlay")
	rw, tree := work(t, st, "", baseTree)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Commit(ctx, st, rw, "", Options{Move: true}); err == nil {
		t.Error("a cancelled commit succeeds")
	}
	noStaging(t, st)
	_, err := st.Mount(rw, "")
	must(t, err)
	res := mustCommit(t, st, rw, "", Options{Move: true})
	sameTrees(t, in(t, st, rw, nil), tree)
	_, err = st.Unmount(rw, true)
	must(t, err)
	verify(t, st, "", res)
}

// A commit that died after the move is finished by the next, or says what was lost.
func TestResume(t *testing.T) {
	st := openStore(t, "overlay")
	rw, _ := work(t, st, "", baseTree)
	res := mustCommit(t, st, rw, "", Options{Move: true})
	in(t, st, rw, nil) // another tool mounts what is left
	if got := mustCommit(t, st, rw, "", Options{Move: true, Names: []string{"late"}}); got != res {
		t.Errorf("got %+v, want %+v", got, res)
	}
	if l, err := st.Layer("late"); err != nil || l.ID != res.ID {
		t.Errorf("name: %v %v", l, err)
	}
	if _, err := Squash(context.Background(), st, rw, Options{}); err == nil {
		t.Error("squashing an emptied container succeeds")
	}
	in(t, st, rw, func(t testing.TB, root string) { write(t, filepath.Join(root, "more"), "x") })
	if _, err := Commit(context.Background(), st, rw, "", Options{}); err == nil {
		t.Error("committing only what came after the move succeeds")
	}
	checkStore(t, st)
}

func TestSize(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, _ bool) {
		rw, _ := work(t, st, "", baseTree)
		base := mustCommit(t, st, rw, "", Options{})
		rw, _ = work(t, st, base.ID, func(t testing.TB, root string) {
			write(t, filepath.Join(root, "f"), strings.Repeat("x", 1000))
			must(t, os.Symlink("f", filepath.Join(root, "l")))
		})
		if got, err := Size(context.Background(), st, rw); err != nil || got < 1000 || got > 2000 {
			t.Errorf("got %d, %v", got, err)
		}
	})
}
