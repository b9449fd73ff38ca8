package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder"
)

// A listing is the tree of an image: for each path a line as cases write it.
type listing map[string]string

// list reads the merged tree of an image.
func list(img *builder.Image) (_ listing, err error) {
	root, done, err := img.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tree := listing{}
	return tree, filepath.WalkDir(root.Name(), func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == root.Name() {
			return err
		}
		rel := strings.TrimPrefix(name, root.Name())
		tree[rel], err = describe(name, rel)
		return err
	})
}

// describe is the line of one file: `- 0644 0:0 /f "content"`, `d 0755 0:0 /d`, `l 0:0 /l target`.
func describe(name, rel string) (string, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	mode := fmt.Sprintf("%04o %d:%d %s", st.Mode&0o7777, st.Uid, st.Gid, rel)
	switch {
	case info.IsDir():
		return "d " + mode, nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		return fmt.Sprintf("l %d:%d %s %s", st.Uid, st.Gid, rel, target), err
	case info.Mode().IsRegular():
		if info.Size() > 4096 {
			return fmt.Sprintf("- %s %d bytes", mode, info.Size()), nil
		}
		data, err := os.ReadFile(name)
		return fmt.Sprintf("- %s %q", mode, data), err
	case info.Mode()&fs.ModeNamedPipe != 0:
		return "p " + mode, nil
	}
	return "? " + mode, nil
}

// changes lists how a tree differs from the one below it, sorted by path: "x /path" is what is gone.
func (l listing) changes(from listing, leaves []string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		// The mount points that RUN needs stay behind where the root lacks them (dockerfile.md §5.1).
		if l[name] != from[name] && !slices.Contains([]string{"/dev", "/proc", "/sys"}, name) && !slices.Contains(leaves, name) {
			lines = append(lines, l[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, ok := l[name]; !ok {
			lines = append(lines, "x "+name)
		}
	}
	return lines
}

// image is the part of a configuration blob that expectations look at.
type image struct {
	Author, OS, Architecture string
	Config                   map[string]json.RawMessage
	History                  []struct {
		CreatedBy  string `json:"created_by"`
		EmptyLayer bool   `json:"empty_layer"`
	}
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// check compares an outcome with what is expected.
func (c *testcase) check(ctx context.Context, l *lab, out outcome) []string {
	bad, rest := c.checkFate(out)
	if len(bad) > 0 {
		return bad
	}
	return c.checkImage(ctx, l, out, rest, l.tool.history)
}

// checkImage compares an image with what is expected of it. The peer may write its history in a form of its own.
func (c *testcase) checkImage(ctx context.Context, l *lab, out outcome, wants []want, history func(string) string) (bad []string) {
	var err error
	blob := out.config
	if out.img != nil {
		if blob, err = out.img.RawConfig(ctx); err != nil {
			return []string{err.Error()}
		}
	}
	if blob == nil {
		return nil
	}
	var img image
	if err := json.Unmarshal(blob, &img); err != nil {
		return []string{err.Error()}
	}
	below := img.below()
	var tree, steps []string
	for _, w := range wants {
		switch w.what {
		case "-", "d", "l", "x", "p", "notree":
			tree = append(tree, strings.TrimSuffix(w.what+" "+w.text, " "))
		case "hist":
			steps = append(steps, history(w.text))
		default:
			if diff := img.compare(w, below); diff != "" {
				bad = append(bad, diff)
			}
		}
	}
	if len(steps) > 0 {
		bad = append(bad, difference("history", img.history(below, history), steps)...)
	}
	if len(tree) > 0 {
		bad = append(bad, c.checkTree(l, out.img, &img, below, tree)...)
	}
	return bad
}

// checkFate looks at the exit code and the output, and returns the expectations that are about the image.
func (c *testcase) checkFate(out outcome) (bad []string, rest []want) {
	code := 0
	for _, w := range c.wants {
		switch w.what {
		case "error":
			if code == 0 {
				code = 125
			}
			fallthrough
		case "says":
			if !strings.Contains(out.output, w.text) {
				bad = append(bad, fmt.Sprintf("the output lacks %q: %s", w.text, out.output))
			}
		case "silent":
			if strings.Contains(out.output, w.text) {
				bad = append(bad, fmt.Sprintf("the output has %q: %s", w.text, out.output))
			}
		case "exit":
			code, _ = strconv.Atoi(w.text)
		case "at":
			if marked := firstMarked(out.output); marked != w.text {
				bad = append(bad, fmt.Sprintf("the excerpt marks line %q, want %s: %s", marked, w.text, out.output))
			}
		default:
			rest = append(rest, w)
		}
	}
	if out.code != code {
		bad = append(bad, fmt.Sprintf("exit code %d, want %d: %s", out.code, code, out.output))
	}
	return bad, rest
}

// firstMarked is the number of the first line that an excerpt marks.
func firstMarked(output string) string {
	m := regexp.MustCompile(`(?m)^ *(\d+) \| >>>`).FindStringSubmatch(output)
	if m == nil {
		return ""
	}
	return m[1]
}

// below is how many layers come from the base image: all but those of this build.
func (img *image) below() int {
	n := 0
	for _, h := range img.History {
		if strings.HasPrefix(h.CreatedBy, "layer ") && strings.HasSuffix(h.CreatedBy, "of a test tree") {
			n++
		}
	}
	return n
}

func (img *image) history(below int, form func(string) string) []string {
	digest := regexp.MustCompile(`[0-9a-f]{64}`)
	var lines []string
	for _, h := range img.History[min(below, len(img.History)):] {
		kind := "L "
		if h.EmptyLayer {
			kind = "E "
		}
		lines = append(lines, form(kind+strings.TrimRight(digest.ReplaceAllString(h.CreatedBy, "HEX"), " ")))
	}
	return lines
}

func (c *testcase) checkTree(l *lab, img *builder.Image, cfg *image, below int, tree []string) []string {
	var got listing
	if len(cfg.RootFS.DiffIDs) > 0 {
		var err error
		if got, err = list(img); err != nil {
			return []string{err.Error()}
		}
	}
	from := listing{}
	if below > 0 {
		from = l.base
	}
	if len(tree) == 1 && tree[0] == "notree" {
		tree = nil
	}
	slices.SortStableFunc(tree, func(a, b string) int { return strings.Compare(pathOf(a), pathOf(b)) })
	changed := got.changes(from, l.tool.leaves())
	slices.SortStableFunc(changed, func(a, b string) int { return strings.Compare(pathOf(a), pathOf(b)) })
	return difference("tree", changed, tree)
}

func pathOf(line string) string { return line[strings.IndexByte(line, '/'):] }

// difference compares two lists line by line.
func difference(what string, got, want []string) []string {
	if slices.Equal(got, want) {
		return nil
	}
	var bad []string
	for _, line := range got {
		if !slices.Contains(want, line) {
			bad = append(bad, "+ "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			bad = append(bad, "- "+line)
		}
	}
	if len(bad) == 0 {
		bad = []string{"the order is " + strings.Join(got, " | ")}
	}
	return []string{what + " (+ got, - want):\n\t" + strings.Join(bad, "\n\t")}
}

// compare judges one expectation on the configuration; an empty text means that it holds.
func (img *image) compare(w want, below int) string {
	var env []string
	if err := json.Unmarshal(orNull(img.Config["Env"]), &env); err != nil {
		return err.Error()
	}
	switch w.what {
	case "env":
		if !slices.Contains(env, w.text) {
			return fmt.Sprintf("Env lacks %s: %q", w.text, env)
		}
	case "noenv":
		if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, w.text+"=") }) {
			return fmt.Sprintf("Env has %s: %q", w.text, env)
		}
	case "author":
		return unlike("author", img.Author, w.text)
	case "os":
		return unlike("os", img.OS, w.text)
	case "arch":
		return unlike("architecture", img.Architecture, w.text)
	case "layers":
		return unlike("number of layers", strconv.Itoa(len(img.RootFS.DiffIDs)-below), w.text)
	default:
		return img.member(w)
	}
	return ""
}

func unlike(what, got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s is %s, want %s", what, got, want)
}

// member compares a member of the configuration as JSON.
func (img *image) member(w want) string {
	if w.what[0] < 'A' || w.what[0] > 'Z' {
		return "unknown expectation " + w.what
	}
	got := orNull(img.Config[w.what])
	var a, b any
	if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal([]byte(w.text), &b)); err != nil {
		return fmt.Sprintf("%s: %v", w.what, err)
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("%s is %s, want %s", w.what, got, w.text)
	}
	return ""
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(bytes.TrimSpace(raw)) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
