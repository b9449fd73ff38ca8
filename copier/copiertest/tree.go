// Package copiertest holds what COPY and ADD mean as a table, and the little language that its trees are written in: for the
// tests of package copier, and for those that run the same rows through programs.
package copiertest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A line is one entry of a tree, "TYPE MODE UID:GID MTIME NAME [REST]". Types are d(irectory), f(ile; the rest is its content),
// l(ink; its target), h(ard link to REST), p (FIFO), s(ocket), c(haracter device; MAJOR:MINOR), a(rchive; a quoted tree) and
// x (an extended attribute of NAME, KEY=VALUE; a VALUE that begins with 0x is in hex). A time of "now" is that of the test. Names that are quoted are Go strings.
type line struct {
	kind, name, rest string
	mode             uint32
	uid, gid         int
	mtime            string
}

func parse(text string) (list []line, err error) {
	for _, t := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.SplitN(strings.TrimSpace(t), " ", 6)
		if len(f) < 5 {
			continue
		}
		l := line{kind: f[0], mtime: f[3], name: f[4]}
		if n, err := strconv.Unquote(l.name); err == nil {
			l.name = n
		}
		if len(f) == 6 {
			l.rest = f[5]
		}
		if _, err := fmt.Sscanf(f[1]+" "+f[2], "%o %d:%d", &l.mode, &l.uid, &l.gid); err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// Make makes below dir what the lines of a tree say.
func Make(dir, text string) error {
	lines, err := parse(text)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := l.make(dir); err != nil {
			return fmt.Errorf("making %s: %w", l.name, err)
		}
	}
	for _, l := range slices.Backward(lines) { // times of directories after what is in them
		if err := l.attributes(filepath.Join(dir, l.name)); err != nil {
			return fmt.Errorf("making %s: %w", l.name, err)
		}
	}
	for _, l := range lines {
		if l.kind == "x" { // last: a change of owner takes file capabilities away
			if err := l.setXattr(dir); err != nil {
				return fmt.Errorf("setting %s of %s: %w", l.rest, l.name, err)
			}
		}
	}
	return nil
}

func (l line) make(dir string) error {
	p := filepath.Join(dir, l.name)
	switch l.kind {
	case "d":
		return os.MkdirAll(p, 0o700)
	case "f":
		return os.WriteFile(p, []byte(l.rest), 0o600)
	case "l":
		return os.Symlink(l.rest, p)
	case "h":
		return os.Link(filepath.Join(dir, l.rest), p)
	case "p":
		return unix.Mknod(p, unix.S_IFIFO|0o600, 0)
	case "s":
		return unix.Mknod(p, unix.S_IFSOCK|0o600, 0)
	case "a":
		return l.pack(p)
	case "c":
		var major, minor uint32
		if _, err := fmt.Sscanf(l.rest, "%d:%d", &major, &minor); err != nil {
			return err
		}
		return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor)))
	}
	return nil
}

func (l line) attributes(p string) error {
	switch l.kind {
	case "h", "x":
		return nil
	case "l":
		return l.stamp(p, os.Lchown(p, l.uid, l.gid))
	}
	if err := os.Lchown(p, l.uid, l.gid); err != nil {
		return err
	}
	return l.stamp(p, unix.Chmod(p, l.mode))
}

func (l line) stamp(p string, err error) error {
	if err != nil || l.mtime == "now" {
		return err
	}
	sec, err := strconv.ParseInt(l.mtime, 10, 64)
	if err != nil {
		return err
	}
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// Describe lists what is below dir in the same language, in the order of names. Hard links are to the first name.
func Describe(dir string) (string, error) {
	start := time.Now().Add(-10 * time.Minute).Unix()
	first := map[uint64]string{}
	var lines []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		mtime := strconv.FormatInt(st.Mtim.Sec, 10)
		if st.Mtim.Sec > start && st.Mtim.Sec < start+3600 {
			mtime = "now"
		}
		if strings.ContainsAny(rel, " \n") || !utf8.ValidString(rel) {
			rel = strings.ReplaceAll(strconv.Quote(rel), " ", `\x20`)
		}
		kind, rest := what(p, &st)
		if f, ok := first[st.Ino]; ok && kind == "f" {
			lines = append(lines, fmt.Sprintf("h 0 0:0 0 %s %s", rel, f))
			return nil
		}
		first[st.Ino] = rel
		mode := st.Mode & 0o7777
		if kind == "l" {
			mode = 0
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%s %o %d:%d %s %s %s", kind, mode, st.Uid, st.Gid, mtime, rel, rest), " "))
		lines = append(lines, xattrs(p, rel)...)
		return nil
	})
	return strings.Join(lines, "\n"), err
}

func what(p string, st *unix.Stat_t) (kind, rest string) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "d", ""
	case unix.S_IFLNK:
		target, _ := os.Readlink(p)
		return "l", target
	case unix.S_IFIFO:
		return "p", ""
	case unix.S_IFCHR:
		return "c", fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFREG:
		b, _ := os.ReadFile(p)
		return "f", string(b)
	}
	return "?", ""
}

// Tidy makes trees comparable: lines in order, modes as Describe writes them.
func Tidy(text string) string {
	lines, err := parse(text)
	if err != nil {
		return err.Error()
	}
	slices.SortStableFunc(lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	for _, l := range lines {
		name := l.name
		if strings.ContainsAny(name, " \n") || !utf8.ValidString(name) {
			name = strconv.Quote(name)
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%s %o %d:%d %s %s %s", l.kind, l.mode, l.uid, l.gid, l.mtime, name, l.rest), " "))
	}
	return b.String()
}
