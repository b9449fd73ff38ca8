package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier/copiertest"
	"github.com/slipway-build/slipway/tests/harness"
)

// A copyTool is one program with a working container whose root is mounted at dir.
type copyTool struct {
	run    func(args ...string) (stderr string, err error)
	ctr    string
	mount  string
	theirs bool
}

// TestCopyLikeBuildah runs the rows of the copying table through both programs. What comes out is the same tree, or the row is
// in the list of differences with its reason; a reason that no longer holds fails as well.
func TestCopyLikeBuildah(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root", "buildah")
	s := shared.NewStore(t)
	ours, theirs := newCopyTool(s, false), newCopyTool(s, true)
	listed := map[string]bool{}
	for n, c := range copiertest.Cases() {
		if !peerKnows(c) {
			continue
		}
		listed[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			dir := filepath.Join(s.Dir, "case", strconv.Itoa(n))
			got, want := ours.copy(t, dir+"-ours", c), theirs.copy(t, dir+"-theirs", c)
			reason, differs := differences()[c.Name]
			switch {
			case got != want && !differs:
				t.Errorf("slipway leaves\n%s\nbuildah\n%s", got, want)
			case got == want && differs:
				t.Errorf("the listed difference is gone (%s)", reason)
			}
			if tree := untimed(copiertest.Tidy(c.Want)); c.Fails == "" && len(c.Src) == 1 && got != tree {
				t.Errorf("slipway leaves\n%s\nthe table says\n%s", got, tree)
			}
		})
	}
	for name := range differences() {
		if !listed[name] {
			t.Errorf("no case is called %q", name)
		}
	}
}

// peerKnows tells whether buildah 1.28 has what a case needs.
func peerKnows(c copiertest.Case) bool {
	o := c.O
	return len(o.Excludes) == 0 && !o.Parents && !o.NoFollow && o.Mtime == nil && !o.NoWildcard && !o.AllowEmptyWildcard && !o.Link && !o.KeepOwner
}

func newCopyTool(s *harness.Store, theirs bool) *copyTool {
	program := []string{s.Bin}
	if theirs {
		program = []string{"buildah", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay"}
	}
	c := &copyTool{theirs: theirs, run: func(args ...string) (string, error) {
		_, stderr, err := s.Try(append(program, args...)...)
		return stderr, err
	}}
	c.ctr = s.Run(append(program, "from", "scratch")...)
	c.mount = s.Run(append(program, "mount", c.ctr)...)
	return c
}

// copy runs a case in an emptied container and describes what is there then, or says that the program refused.
func (c *copyTool) copy(t *testing.T, dir string, row copiertest.Case) string {
	t.Helper()
	old, err := os.ReadDir(c.mount)
	for _, e := range old {
		err = errorOf(err, os.RemoveAll(filepath.Join(c.mount, e.Name())))
	}
	err = errorOf(err, os.MkdirAll(dir, 0o755), copiertest.Make(dir, row.Source()), copiertest.Make(c.mount, row.Have))
	if err != nil {
		t.Fatal(err)
	}
	verb := "copy"
	if row.O.Unpack {
		verb = "add"
	}
	args := []string{verb, "-q", "--contextdir", dir}
	if row.Ignore != "" {
		file := dir + ".ignore"
		if err := os.WriteFile(file, []byte(row.Ignore), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--ignorefile", file)
	}
	if row.O.Chmod != "" {
		args = append(args, "--chmod", row.O.Chmod)
	}
	if row.O.UID != nil {
		args = append(args, "--chown", fmt.Sprintf("%d:%d", *row.O.UID, *row.O.GID))
	}
	args = append(args, c.ctr)
	for _, src := range row.Src {
		args = append(args, "/"+strings.TrimPrefix(src, "/")) // both take that for the context
	}
	stderr, err := c.run(append(args, row.Dest)...)
	if err != nil {
		if !strings.Contains(stderr, "rror") {
			t.Errorf("no message: %q, %v", stderr, err)
		}
		return "refused"
	}
	text, err := copiertest.Describe(c.mount)
	if err != nil {
		t.Fatal(err)
	}
	return untimed(copiertest.Tidy(text))
}

// untimed drops the times of directories: buildah gives the top one the time of now, which is the general difference (dockerfile.md §6.3).
func untimed(tree string) string {
	return regexp.MustCompile(`(?m)^(d \d+ \d+:\d+) \S+`).ReplaceAllString(tree, "$1 -")
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// differences are the rows in which buildah 1.28 leaves something else, with the reason why the other is right.
func differences() map[string]string {
	const ignored = "buildah 1.28 takes a line of an ignore file with its blanks and doubled slashes; §7 reads it as BuildKit does"
	const parents = "implicit parents have an octal mode's permissions (§6.3); buildah's are always 0755"
	const brackets = "buildah 1.28 finds no name by an escape below a context directory; §6.2 has path.Match"
	const conflict = "a file and a directory of one name are a conflict (§6.3); buildah removes what was there"
	const whiteout = "the name cannot be told from a whiteout (§19.17); buildah makes a layer that deletes"
	return map[string]string{
		"6.2 escaped brackets":                               brackets,
		"6.2 backslash":                                      brackets,
		"6.3 dangling final link":                            "the link is followed to a file (§6.3); buildah makes a directory of the target",
		"6.3 implicit parents have an octal mode":            parents,
		"6.3 implicit parents have no special bits":          parents,
		"6.3 implicit parents have no symbolic mode":         "buildah has octal modes only (§6.6)",
		"6.3 file over directory":                            conflict,
		"6.3 directory over file":                            conflict,
		"6.4 absurd times":                                   "nanoseconds since 1970 in 64 bits end in 2262, and buildah's times wrap around there",
		"6.4 attributes of users and capabilities":           "buildah 1.28 leaves out attributes of directories, and empty ones",
		"6.4 attributes that are not the file's stay behind": "attributes that steer overlayfs and storage mean something else in a layer (security.md, A)",
		"6.9 --chown is about members too":                   "buildah gives archives their own owners; §6.4 has --chown for all of it",
		"6.9 --chmod is not":                                 parents,
		"6.9 through a link of its own":                      "a member goes through the link that an earlier one made, inside the root; buildah refuses the archive",
		"19.17 whiteouts in archives":                        whiteout,
		"6.4 special files":                                  "a socket becomes an empty file (§6.4); buildah leaves it out",
		"6.6 octal on files and directories, not links":      parents,
		"6.6 too large":                                      "more than 07777 is refused (§6.6); buildah takes it and keeps no bit of it",
		"7 comments, blanks, slashes":                        ignored,
		"7 taken back, blank behind the mark":                ignored,
		"7 taken back inside":                                "directories on the way to a file that is taken back have their own modes (§7); buildah's have 0755",
		"19.17 whiteout names":                               whiteout,
		"19.17 whiteout names, named":                        whiteout,
		"19.17 whiteout names of the destination":            whiteout,
		"19.17 whiteout names on the way":                    whiteout,
		"19.17 whiteout names of a directory":                whiteout,
	}
}
