package interop

import (
	"archive/tar"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/flock"
	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/tests/harness"
)

// layersOf are the IDs of the layers of a store that are not a container's own.
func layersOf(t *testing.T, s *harness.Store) []string {
	t.Helper()
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: s.Root, RunRoot: s.RunRoot, GraphDriverName: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := st.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range all {
		if all[i].UncompressedDigest != "" {
			ids = append(ids, all[i].ID)
		}
	}
	return ids
}

// until waits for something that a process which runs beside does.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 600 {
		if done() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited in vain: %s", what)
}

// killBeforeImage kills a commit that has stored its layer and not its image: the first is held up by our lock, the second by storage's own.
func killBeforeImage(t *testing.T, s *harness.Store, args ...string) {
	t.Helper()
	lock, err := flock.Acquire(filepath.Join(s.Root, "slipway/layers.lock"), flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	cmd := s.Command(append([]string{s.Bin, "commit", "-q"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the layer is ready to be stored", func() bool {
		staged, err := filepath.Glob(s.Root + "/overlay/staging/*/dir")
		return err == nil && len(staged) > 0
	})
	images, err := os.Open(filepath.Join(s.Root, "overlay-images/images.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	if err := unix.FcntlFlock(images.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the layer is stored", func() bool {
		text, err := os.ReadFile(filepath.Join(s.Root, "overlay-layers/layers.json"))
		return err == nil && strings.Contains(string(text), "diff-digest") && !strings.Contains(string(text), `"incomplete":true`)
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestCommitKilledBeforeImage: the layer of a commit that was killed before there was an image is removed by the next command, or with the
// container whose files it has.
func TestCommitKilledBeforeImage(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	s := shared.NewStore(t)
	c := s.Slipway("from", "scratch")
	write(t, s, "file", "content")
	s.Slipway("copy", "-q", c, "file", "/file")
	killBeforeImage(t, s, c, "image")
	if left := layersOf(t, s); len(left) != 1 {
		t.Fatalf("the killed commit left layers %v: this test shows nothing", left)
	}
	s.Slipway("images")
	if left := layersOf(t, s); len(left) > 0 {
		t.Errorf("left by a killed commit: layers %v", left)
	}
	check(t, s)

	killBeforeImage(t, s, "--rm", c, "image")
	s.Slipway("images")
	if left := layersOf(t, s); len(left) != 1 {
		t.Fatalf("what has the container's files now: %v", left)
	}
	s.Slipway("rm", c)
	if left := layersOf(t, s); len(left) > 0 {
		t.Errorf("left of the container: layers %v", left)
	}

	c = s.Slipway("from", "scratch")
	s.Slipway("copy", "-q", c, "file", "/file")
	killBeforeImage(t, s, "--rm", c, "image")
	s.Slipway("commit", "-q", "--rm", c, "image")
	if layers := layersOf(t, s); len(layers) != 1 {
		t.Errorf("the image's layers: %v", layers)
	}
	check(t, s)
}

// TestKilledWhileStaging: the directory in which a layer comes to be goes with the next command when a commit is killed, and the container
// has all its files.
func TestKilledWhileStaging(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	for _, flags := range [][]string{nil, {"--rm"}} {
		s := shared.NewStore(t)
		c := s.Slipway("from", "scratch")
		write(t, s, "file", "content")
		s.Slipway("copy", "-q", c, "file", "/file")
		lock, err := flock.Acquire(filepath.Join(s.Root, "slipway/layers.lock"), flock.Exclusive)
		if err != nil {
			t.Fatal(err)
		}
		cmd := s.Command(append(append([]string{s.Bin, "commit", "-q"}, flags...), c, "image")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		staging := func() []string {
			dirs, _ := filepath.Glob(s.Root + "/overlay/staging/*")
			return dirs
		}
		until(t, "the directory is noted", func() bool {
			marks, _ := filepath.Glob(s.Root + "/slipway/live/staging-*")
			text, err := os.ReadFile(strings.Join(marks, ""))
			return err == nil && strings.HasSuffix(string(text), "\n")
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if len(staging()) != 1 {
			t.Fatalf("the killed commit left %v: this test shows nothing", staging())
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		s.Slipway("images")
		if left := staging(); len(left) > 0 {
			t.Errorf("left by a killed commit %v: %v", flags, left)
		}
		s.Slipway("commit", "-q", "--rm", c, "image")
		c = s.Slipway("from", "image")
		text, err := os.ReadFile(filepath.Join(s.Slipway("mount", c), "file"))
		if err != nil || string(text) != "content" {
			t.Errorf("the container had %q, %v", text, err)
		}
	}
}

// gated is a registry that answers requests whose path ends with a text only after open has been closed.
type gated struct {
	host string
	open chan struct{}
}

func gate(t *testing.T, r *regtest.Registry, suffix string) gated {
	t.Helper()
	g := gated{open: make(chan struct{})}
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.Host()})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, suffix) {
			select {
			case <-g.open:
			case <-req.Context().Done():
				return
			}
		}
		through.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections() // or a test that failed would wait for ever
		server.Close()
	})
	g.host = strings.TrimPrefix(server.URL, "http://")
	return g
}

// TestPullsShareLayer: of two pulls at a time with one layer, the one that is refused takes nothing from the other. What a killed pull has
// got stays for the next, until a prune.
func TestPullsShareLayer(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{})
	defer r.Close()
	s := shared.NewStore(t)
	blob, diffID := packed(t, tar.Header{Name: "file", Typeflag: tar.TypeReg})
	other, otherID := packed(t, tar.Header{Name: "other", Typeflag: tar.TypeReg})
	late, lateID := packed(t, tar.Header{Name: "late", Typeflag: tar.TypeReg})
	good := crafted{[][]byte{blob, late}, ociLayer, []string{diffID, lateID}, nil}
	good.put(t, r, "good")
	bad := crafted{[][]byte{blob, other}, ociLayer, []string{diffID, diffID}, nil}
	bad.put(t, r, "bad")
	// begin starts a pull of the good image that has its first layer and waits for the other.
	begin := func() (*exec.Cmd, gated) {
		g := gate(t, r, digestOf(late))
		cmd := s.Command(s.Bin, "pull", "-q", "--tls-verify=false", g.host+"/app:good")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "the first layer is stored", func() bool { return len(layersOf(t, s)) == 1 })
		return cmd, g
	}
	kill := func(cmd *exec.Cmd) {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	refused := func() {
		if out, msg, err := s.Try(s.Bin, "pull", "-q", "--tls-verify=false", r.Host()+"/app:bad"); err == nil || !strings.Contains(msg, "DiffID") {
			t.Errorf("an image whose layer is not %s: %v, %q, %q", otherID, err, out, msg)
		}
	}

	pull, g := begin()
	refused()
	close(g.open)
	if err := pull.Wait(); err != nil {
		t.Errorf("the pull of the good image: %v", err)
	}
	check(t, s)
	s.Slipway("rmi", "-a")
	if left := layersOf(t, s); len(left) > 0 {
		t.Errorf("left: layers %v", left)
	}

	pull, _ = begin()
	kill(pull)
	refused()
	if n := len(layersOf(t, s)); n != 1 {
		t.Errorf("the next commands left %d of the killed pull's layers", n)
	}
	r.Stats(true)
	s.Slipway("pull", "-q", "--tls-verify=false", r.Host()+"/app:good")
	if n := r.Stats(false).BlobDownloads; n != 2 {
		t.Errorf("%d blobs were fetched, not the configuration and the layer that was missing", n)
	}
	s.Slipway("rmi", "-a")

	pull, _ = begin()
	kill(pull)
	s.Slipway("prune")
	if left := layersOf(t, s); len(left) > 0 {
		t.Errorf("left by a prune: layers %v", left)
	}
	check(t, s)
}
