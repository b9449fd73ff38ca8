// Package conformance builds the Dockerfiles of cases/*.txtar with the slipway binary and compares trees,
// configurations, histories and errors with what the cases expect. README.md explains their form. The expectations
// say what the Dockerfile language means, whoever builds: with SLIPWAY_CONFORMANCE_PEER=buildah or =docker the same cases go
// through that tool as well (peer_test.go).
package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &shared)) }

// shared is set by TestMain before any test runs.
var shared *harness.Harness

// TestCases builds every case with slipway. All share one store, and with it one base image.
func TestCases(t *testing.T) {
	harness.Need(t, "root")
	all := corpus(t)
	l := newLab(t, all, slipway{})
	for _, c := range all {
		t.Run(c.section+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			for _, difference := range l.judge(t, c) {
				t.Error(difference)
			}
		})
	}
}

// A lab is a store in which cases are built, each once.
type lab struct {
	store *harness.Store
	b     *builder.Store
	tool  builderTool
	byID  map[string]*testcase
	base  listing
	once  map[string]func() outcome
}

func newLab(t *testing.T, all []*testcase, tool builderTool) *lab {
	t.Helper()
	s := shared.NewStore(t)
	shared.Base(s, "base")
	b, err := builder.Open(builder.StoreOptions{Root: s.Root, RunRoot: s.RunRoot, Driver: "overlay", TempDir: filepath.Join(s.Dir, "tmp")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{store: s, b: b, tool: tool, byID: map[string]*testcase{}, once: map[string]func() outcome{}}
	img, err := b.Image("base")
	if err == nil {
		l.base, err = list(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tool.prepare(t, l); err != nil {
		t.Skip(err)
	}
	for _, c := range all {
		l.byID[c.name] = c
		l.once[c.name] = sync.OnceValue(func() outcome { return l.build(c) })
	}
	return l
}

// judge builds a case, after those that it needs, and returns what is not as expected.
func (l *lab) judge(t *testing.T, c *testcase) []string {
	t.Helper()
	out := l.get(c)
	if out.err != nil {
		t.Fatal(out.err)
	}
	return c.check(context.Background(), l, out)
}

func (l *lab) get(c *testcase) outcome {
	for _, name := range c.needs {
		if l.byID[name] == nil {
			return outcome{err: fmt.Errorf("no case %s", name)}
		}
		if out := l.get(l.byID[name]); out.err != nil {
			return out
		}
	}
	return l.once[c.name]()
}
