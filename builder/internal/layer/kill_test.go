package layer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
)

// killChild is what a child of TestKilled does: one commit, at whose end it prints the layer.
func killChild(graph, run, rw string) error {
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: graph, RunRoot: run, GraphDriverName: "overlay"})
	if err != nil {
		return err
	}
	res, err := Commit(context.Background(), st, rw, "", Options{Move: true, TempDir: os.TempDir()})
	fmt.Println(res.ID)
	return err
}

// Whenever a commit is killed, the store is sound and the next attempt gives the whole layer or says what was lost.
func TestKilled(t *testing.T) {
	st := openStore(t, "overlay")
	fill := func(t testing.TB, root string) {
		for i := range 400 {
			write(t, filepath.Join(root, fmt.Sprint("f", i)), strings.Repeat("x", i*20))
		}
		settle(t, root, false)
	}
	rw, _ := work(t, st, "", fill)
	want := mustCommit(t, st, rw, "", Options{})
	must(t, st.DeleteLayer(want.ID), st.DeleteLayer(rw))
	killed, lost := 0, 0
	for i := range 40 {
		rw, _ := work(t, st, "", fill)
		cmd := exec.Command(os.Args[0], "kill-child", st.GraphRoot(), st.RunRoot(), rw)
		must(t, cmd.Start())
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		_ = cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
		checkStore(t, st)
		got, err := Commit(context.Background(), st, rw, "", Options{Move: i%2 == 0})
		switch {
		case err != nil && strings.Contains(err.Error(), "was killed"):
			lost++
		case err != nil:
			t.Errorf("after %d ms: %v", i*2, err)
		case got != want:
			t.Errorf("after %d ms: got %+v, want %+v", i*2, got, want)
		}
		checkStore(t, st)
		_ = st.DeleteLayer(want.ID)
		must(t, st.DeleteLayer(rw))
	}
	if killed == 0 {
		t.Error("no commit was killed: this test shows nothing")
	}
	t.Logf("%d of 40 killed, %d lost and said so", killed, lost)
}
