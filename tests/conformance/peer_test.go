package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/tests/harness"
)

// TestPeer builds the cases with another tool and compares with what they expect: whether the build fails, the tree, the
// configuration and the history. Where the tool differs, peers/TOOL.txt must say so and why; a case that is listed there and does
// not differ is a failure too. How a tool words its messages is its own affair.
func TestPeer(t *testing.T) {
	name := os.Getenv("SLIPWAY_CONFORMANCE_PEER")
	if name == "" {
		t.Skip("SLIPWAY_CONFORMANCE_PEER=buildah or docker builds the cases with that tool too (make conformance)")
	}
	tool := peers()[name]
	if tool == nil {
		t.Fatalf("SLIPWAY_CONFORMANCE_PEER=%s is none of %s", name, slices.Sorted(maps.Keys(peers())))
	}
	harness.Need(t, "root")
	version, known, err := readDifferences("peers/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	all := corpus(t)
	l := newLab(t, all, tool)
	for name := range known {
		if l.byID[name] == nil {
			t.Errorf("peers: no case %s", name)
		}
	}
	judge := version == tool.version(l)
	if !judge {
		t.Logf("this is version %s: the differences of %s are listed, and no others judged", tool.version(l), version)
	}
	same := 0
	for _, c := range all {
		t.Run(c.section+"/"+c.name, func(t *testing.T) {
			found := l.compare(c)
			reason, listed := known[c.name]
			switch text := strings.Join(found, "\n"); {
			case len(found) == 0 && listed && judge:
				t.Errorf("the same, but it is listed: %s", reason)
			case len(found) == 0:
				same++
			case !listed && judge:
				t.Error(text)
			default:
				t.Logf("%s\n  %s", reason, text)
			}
		})
	}
	t.Logf("%d of %d cases are the same, %d are listed", same, len(all), len(known))
}

// readDifferences reads the cases in which a version of a peer differs and why: the first paragraph begins "# Version V:", each further
// one is a reason, in lines "# …", and the cases below it.
func readDifferences(file string) (version string, reasons map[string]string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	reasons = map[string]string{}
	for paragraph := range strings.SplitSeq(string(text), "\n\n") {
		reason := ""
		for line := range strings.Lines(paragraph) {
			if more, ok := strings.CutPrefix(line, "#"); ok {
				reason = strings.TrimSpace(reason + " " + strings.TrimSpace(more))
				continue
			}
			for _, name := range strings.Fields(line) {
				if _, twice := reasons[name]; twice || reason == "" {
					return "", nil, fmt.Errorf("%s: %s is listed twice or without a reason", file, name)
				}
				reasons[name] = reason
			}
		}
		if version == "" {
			if _, err := fmt.Sscanf(reason, "Version %s", &version); err != nil {
				return "", nil, fmt.Errorf("%s: it does not begin with the version", file)
			}
			version = strings.TrimSuffix(version, ":")
		}
	}
	return version, reasons, nil
}

// compare builds a case with a peer and returns how the result is unlike the one expected.
func (l *lab) compare(c *testcase) []string {
	out := l.get(c)
	if out.err != nil {
		return []string{out.err.Error()}
	}
	var wants []want
	fails := false
	for _, w := range c.wants {
		switch w.what {
		case "error":
			fails = true
		case "exit":
			fails = w.text != "0"
		case "says", "silent", "at":
		default:
			wants = append(wants, w)
		}
	}
	switch {
	case fails && out.code == 0:
		return []string{"the build succeeds"}
	case !fails && out.code != 0:
		return []string{fmt.Sprintf("the build fails with %d: %s", out.code, out.output)}
	}
	bad := c.checkImage(context.Background(), l, out, wants, l.tool.history)
	if c.section == "16-projects" && out.img != nil {
		bad = append(bad, l.beside(c, out.img)...)
	}
	return bad
}

// beside builds the case with slipway too and compares everything: the whole tree and the whole configuration.
func (l *lab) beside(c *testcase, peer *builder.Image) []string {
	name := c.name + ".ours"
	argv := append(append([]string{l.store.Bin, "bud", "-t", name}, c.args...), ".")
	cmd := l.store.Command(argv...)
	cmd.Dir = filepath.Join(l.store.Dir, "contexts", c.name)
	if text, err := cmd.CombinedOutput(); err != nil {
		return []string{fmt.Sprintf("slipway: %v: %s", err, text)}
	}
	ours, err := l.b.Image(name)
	if err != nil {
		return []string{err.Error()}
	}
	var trees [2]listing
	var configs [2]image
	for i, img := range []*builder.Image{peer, ours} {
		var blob []byte
		if blob, err = img.RawConfig(context.Background()); err == nil {
			err = json.Unmarshal(blob, &configs[i])
		}
		if err == nil {
			trees[i], err = list(img)
		}
		if err != nil {
			return []string{err.Error()}
		}
	}
	bad := trees[0].changes(trees[1], l.tool.leaves())
	for _, key := range slices.Sorted(maps.Keys(configs[1].Config)) {
		if theirs := configs[0].Config[key]; !sameJSON(theirs, configs[1].Config[key]) {
			bad = append(bad, fmt.Sprintf("%s is %s beside ours, %s", key, theirs, configs[1].Config[key]))
		}
	}
	return bad
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(orNull(a), &x) == nil && json.Unmarshal(orNull(b), &y) == nil && reflect.DeepEqual(x, y)
}
