package copier

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// The language of the tables: one line an entry, "TYPE MODE UID:GID MTIME NAME [REST]". Types are d(irectory),
// f(ile; the rest is its content), l(ink; its target), h(ard link to REST), p (FIFO), s(ocket), c(haracter device; MAJOR:MINOR). A time of
// "now" is that of the test. Names are unquoted as Go strings if they are quoted.

func unquoted(name string) string {
	if n, err := strconv.Unquote(name); err == nil {
		return n
	}
	return name
}

// makeTree makes what the lines say.
func makeTree(t *testing.T, dir, lines string) {
	t.Helper()
	var later []func() error
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		f := strings.SplitN(strings.TrimSpace(line), " ", 6)
		if len(f) < 5 {
			continue
		}
		rest := ""
		if len(f) == 6 {
			rest = f[5]
		}
		p := filepath.Join(dir, unquoted(f[4]))
		mode, err := strconv.ParseUint(f[1], 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		switch f[0] {
		case "d":
			err = os.MkdirAll(p, 0o700)
		case "f":
			err = os.WriteFile(p, []byte(rest), 0o600)
		case "l":
			err = os.Symlink(rest, p)
		case "h":
			err = os.Link(filepath.Join(dir, rest), p)
		case "p":
			err = unix.Mknod(p, unix.S_IFIFO|0o600, 0)
		case "s":
			err = unix.Mknod(p, unix.S_IFSOCK|0o600, 0)
		case "c":
			var major, minor uint32
			if _, err = fmt.Sscanf(rest, "%d:%d", &major, &minor); err == nil {
				err = unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor)))
			}
		}
		if err != nil {
			t.Fatal(line, err)
		}
		later = append(later, func() error { return setMeta(p, f, uint32(mode)) })
	}
	for i := len(later) - 1; i >= 0; i-- { // times of directories after what is in them
		if err := later[i](); err != nil {
			t.Fatal(err)
		}
	}
}

func setMeta(p string, f []string, mode uint32) error {
	if f[0] == "h" {
		return nil
	}
	var uid, gid int
	if _, err := fmt.Sscanf(f[2], "%d:%d", &uid, &gid); err != nil {
		return err
	}
	if err := os.Lchown(p, uid, gid); err != nil {
		return err
	}
	if f[0] != "l" {
		if err := unix.Chmod(p, mode); err != nil {
			return err
		}
	}
	if f[3] == "now" {
		return nil
	}
	sec, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		return err
	}
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// describe lists what is below dir in the same language, in the order of names. Hard links are to the first name.
func describe(t *testing.T, dir string) string {
	t.Helper()
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
		if st.Mtim.Sec > start {
			mtime = "now"
		}
		if strings.ContainsAny(rel, " \n") || !utf8.ValidString(rel) || len(rel) > 400 {
			rel = strings.ReplaceAll(strconv.Quote(rel), " ", `\x20`)
		}
		kind, rest := what(p, &st)
		if f, ok := first[st.Ino]; ok && kind == "f" {
			lines = append(lines, fmt.Sprintf("h 0 0:0 0 %s %s", rel, f))
			return nil
		}
		first[st.Ino] = rel
		line := fmt.Sprintf("%s %o %d:%d %s %s", kind, st.Mode&0o7777, st.Uid, st.Gid, mtime, rel)
		if kind == "l" {
			line = fmt.Sprintf("l 0 %d:%d %s %s", st.Uid, st.Gid, mtime, rel)
		}
		lines = append(lines, strings.TrimRight(line+" "+rest, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
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

// tidy makes lines comparable: trimmed, octal modes without leading zeros, in order.
func tidy(lines string) string {
	var list []string
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) == 3 {
			mode, _ := strconv.ParseUint(f[1], 8, 32)
			list = append(list, fmt.Sprintf("%s %o %s", f[0], mode, f[2]))
		}
	}
	sort.Slice(list, func(i, j int) bool { return strings.SplitN(list[i], " ", 6)[4] < strings.SplitN(list[j], " ", 6)[4] })
	return strings.Join(list, "\n")
}

// contextTree is what most rows copy from.
const contextTree = `
d 0750 10:11 1000 d
f 0640 10:11 1001 d/a a
f 4755 10:11 1002 d/suid s
d 2711 12:13 1003 d/sub
f 0600 12:13 1004 d/sub/b b
l 0 12:13 1005 d/sub/l ../a
d 0700 10:11 1006 empty
f 0644 10:11 1007 f f
f 0600 10:11 1008 g g
l 0 10:11 1009 lf f
l 0 10:11 1010 ld d
l 0 10:11 1011 lx /f
d 0755 10:11 1012 x
d 0711 10:11 1013 x/y
f 0644 10:11 1014 x/y/1.txt 1
f 0644 10:11 1015 x/y/2.md 2
f 0644 10:11 1016 x/z z
f 0644 10:11 1017 arr[0].txt arr`

type semantic struct {
	name, from, have, dest, want, fails string
	src                                 []string
	o                                   Options
	ignore                              string
}

func id(n int) *int { return &n }

// Rows are named by the section of dockerfile.md, or by exact.md where that wins.
var semantics = []semantic{ //nolint:gochecknoglobals // a table
	// 6.2 sources
	{name: "6.2 dots are clamped", src: []string{"../../f"}, dest: "/n", want: `f 644 0:0 1007 n f`},
	{name: "6.2 a leading slash is the root of the source", src: []string{"/f"}, dest: "/n", want: `f 644 0:0 1007 n f`},
	{name: "6.2 trailing slash of a source", src: []string{"x/y/"}, dest: "/n", want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
	{name: "6.2 dir/. is dir", src: []string{"x/y/."}, dest: "/n", want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
	{name: "6.2 star does not cross slashes", src: []string{"x/*.txt"}, dest: "/n/", fails: "globs [x/*.txt] matched nothing"},
	{name: "6.2 star in the middle", src: []string{"x/*/1.txt"}, dest: "/n", want: `f 644 0:0 1014 n 1`},
	{name: "6.2 double star is a star without parents", src: []string{"**/z"}, dest: "/n", want: `f 644 0:0 1016 n z`},
	{name: "6.2 question mark and set", src: []string{"[fg]"}, dest: "/n/", want: "d 755 0:0 now n\nf 644 0:0 1007 n/f f\nf 600 0:0 1008 n/g g"},
	{name: "6.2 escaped brackets", src: []string{"arr[[]0].txt"}, dest: "/n", want: `f 644 0:0 1017 n arr`},
	{name: "6.2 backslash", src: []string{`arr\[0\].txt`}, dest: "/n", want: `f 644 0:0 1017 n arr`},
	{name: "6.2 no match, allowed", src: []string{"nope*"}, dest: "/n/", o: Options{AllowEmptyWildcard: true}, want: ""},
	{name: "6.2 a missing name is an error also then", src: []string{"nope"}, dest: "/n/", o: Options{AllowEmptyWildcard: true}, fails: `copier: stat: "/nope": no such file or directory`},
	{name: "6.2 nothing is written when one of several is missing", src: []string{"f", "nope"}, dest: "/n/", fails: "no such file or directory"},
	{name: "6.2 malformed", src: []string{"[a-"}, dest: "/n/", o: Options{AllowEmptyWildcard: true}, fails: "syntax error in pattern"},
	{name: "6.2 link to a file", src: []string{"lf"}, dest: "/n/", want: "d 755 0:0 now n\nf 644 0:0 1007 n/lf f"},
	{name: "6.2 absolute link stays in the source", src: []string{"lx"}, dest: "/n", want: `f 644 0:0 1007 n f`},
	{name: "6.2 link to a directory", src: []string{"ld"}, dest: "/n", o: Options{Excludes: []string{"s*"}}, want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a"},
	{name: "6.2 link matched by a wildcard", src: []string{"l[f]"}, dest: "/n", want: `f 644 0:0 1007 n f`},
	{name: "6.2 inner links stay", src: []string{"d/sub"}, dest: "/n", want: "d 755 0:0 1003 n\nf 600 0:0 1004 n/b b\nl 0 0:0 1005 n/l ../a"},
	{name: "cli 9.3 no-follow-symlinks", src: []string{"lf"}, dest: "/n", o: Options{NoFollow: true}, want: `l 0 0:0 1009 n f`},
	{name: "cli 9.3 no-follow-symlinks, to a directory", src: []string{"ld"}, dest: "/n/", o: Options{NoFollow: true}, want: "d 755 0:0 now n\nl 0 0:0 1010 n/ld d"},
	{name: "cli 9.3 no wildcards", src: []string{"f*"}, dest: "/n", o: Options{NoWildcard: true}, fails: "wildcards are not allowed"},

	// 6.3 destination
	{name: "6.3 file to a name", src: []string{"f"}, dest: "/p/q/n", want: "d 755 0:0 now p\nd 755 0:0 now p/q\nf 644 0:0 1007 p/q/n f"},
	{name: "6.3 into an existing directory", have: "d 1777 5:6 900 n", src: []string{"f"}, dest: "/n", want: "d 1777 5:6 now n\nf 644 0:0 1007 n/f f"},
	{name: "6.3 destination through a link", have: "d 700 5:6 900 real\nl 0 5:6 900 n real", src: []string{"f"}, dest: "/n/", want: "l 0 5:6 900 n real\nd 700 5:6 now real\nf 644 0:0 1007 real/f f"},
	{name: "6.3 absolute link cannot leave", have: "l 0 5:6 900 n /../../r", src: []string{"f"}, dest: "/n/", want: "l 0 5:6 900 n /../../r\nd 755 0:0 now r\nf 644 0:0 1007 r/f f"},
	{name: "6.3 dangling final link", have: "d 755 0:0 900 real\nl 0 0:0 900 n /real/target", src: []string{"f"}, dest: "/n", want: "l 0 0:0 900 n /real/target\nd 755 0:0 now real\nf 644 0:0 1007 real/target f"},
	{name: "6.3 looping link", have: "l 0 0:0 900 n n", src: []string{"f"}, dest: "/n", fails: "too many levels of symbolic links"},
	{name: "6.3 existing file is a new inode", have: "f 777 5:6 900 n old\nh 0 0:0 0 other n", src: []string{"f"}, dest: "/n", want: "f 644 0:0 1007 n f\nf 777 5:6 900 other old"},
	{name: "6.3 contents are merged, subdirectories take over", have: "d 1777 5:6 900 n\nd 700 5:6 900 n/sub\nf 600 5:6 900 n/sub/keep k\nf 600 5:6 900 n/a old",
		src: []string{"d"}, dest: "/n", want: "d 1777 5:6 1000 n\nf 640 0:0 1001 n/a a\nd 2711 0:0 1003 n/sub\nf 600 0:0 1004 n/sub/b b\nf 600 5:6 900 n/sub/keep k\nl 0 0:0 1005 n/sub/l ../a\nf 4755 0:0 1002 n/suid s"},
	{name: "6.3 top of a new directory", src: []string{"empty"}, dest: "/n1", want: "d 755 0:0 1006 n1"},
	{name: "6.3 top of a new directory, owner", src: []string{"empty"}, dest: "/n1/n2", o: Options{UID: id(7), GID: id(8)}, want: "d 755 7:8 now n1\nd 755 7:8 1006 n1/n2"},
	{name: "6.3 implicit parents have an octal mode", src: []string{"f"}, dest: "/y/z/x", o: Options{Chmod: "600"}, want: "d 600 0:0 now y\nd 600 0:0 now y/z\nf 600 0:0 1007 y/z/x f"},
	{name: "6.3 implicit parents have no special bits", src: []string{"f"}, dest: "/y/x", o: Options{Chmod: "4711"}, want: "d 711 0:0 now y\nf 4711 0:0 1007 y/x f"},
	{name: "6.3 implicit parents have no symbolic mode", src: []string{"f"}, dest: "/y/x", o: Options{Chmod: "go-rwx"}, want: "d 755 0:0 now y\nf 600 0:0 1007 y/x f"},
	{name: "6.3 file over directory", have: "d 755 0:0 900 n\nd 755 0:0 900 n/f", src: []string{"f"}, dest: "/n/", fails: "cannot replace to directory /n/f with file"},
	{name: "6.3 directory over file", have: "d 755 0:0 900 n\nf 644 0:0 900 n/sub x", src: []string{"d"}, dest: "/n/", fails: "cannot copy to non-directory: /n/sub"},
	{name: "6.3 directory onto a file", have: "f 644 0:0 900 n x", src: []string{"d"}, dest: "/n", fails: "destination /n already exists but is not a directory"},
	{name: "6.3 several to one name: the last wins", src: []string{"f", "g"}, dest: "/n", want: "f 600 0:0 1008 n g"},
	{name: "6.3 a link in a merged directory is replaced", have: "d 755 0:0 900 n\nl 0 0:0 900 n/a /v\nf 644 0:0 900 v victim", src: []string{"d"}, dest: "/n", o: Options{Excludes: []string{"s*"}},
		want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a\nf 644 0:0 900 v victim"},

	// 6.4 what is copied
	{name: "6.4 hard links of one tree stay", from: "d 755 0:0 1 t\nf 640 3:4 2 t/a x\nh 0 0:0 0 t/b t/a\nf 600 0:0 3 t/c c", src: []string{"t"}, dest: "/n",
		want: "d 755 0:0 1 n\nf 640 0:0 2 n/a x\nh 0 0:0 0 n/b n/a\nf 600 0:0 3 n/c c"},
	{name: "6.4 hard links of two sources do not", from: "f 640 3:4 2 a x\nh 0 0:0 0 b a", src: []string{"a", "b"}, dest: "/n/", want: "d 755 0:0 now n\nf 640 0:0 2 n/a x\nf 640 0:0 2 n/b x"},
	{name: "6.4 hard links onto one name", from: "d 755 0:0 1 p\nf 640 3:4 2 p/a x\nd 755 0:0 1 q\nh 0 0:0 0 q/a p/a", src: []string{"*/a"}, dest: "/n/", want: "d 755 0:0 now n\nf 640 0:0 2 n/a x"},
	{name: "6.4 special files", from: "d 755 0:0 1 t\np 620 3:4 2 t/p\nc 666 0:0 3 t/null 1:3\ns 777 0:0 4 t/s", src: []string{"t"}, dest: "/n",
		want: "d 755 0:0 1 n\nc 666 0:0 3 n/null 1:3\np 620 0:0 2 n/p\nf 777 0:0 4 n/s"},
	{name: "6.4 special bits stay", from: "f 6755 0:0 1 a x\nd 3777 0:0 2 t\nd 3770 0:0 3 t/u", src: []string{"a", "t"}, dest: "/n/", want: "d 755 0:0 2 n\nf 6755 0:0 1 n/a x\nd 3770 0:0 3 n/u"},
	{name: "6.4 owners are kept with --from", src: []string{"d/sub"}, dest: "/n", o: Options{KeepOwner: true}, want: "d 755 0:0 1003 n\nf 600 12:13 1004 n/b b\nl 0 12:13 1005 n/l ../a"},
	{name: "6.4 --chown wins over kept owners", src: []string{"d/sub"}, dest: "/n", o: Options{KeepOwner: true, UID: id(7), GID: id(8)}, want: "d 755 7:8 1003 n\nf 600 7:8 1004 n/b b\nl 0 7:8 1005 n/l ../a"},
	{name: "6.4 odd names", from: "d 755 0:0 1 t\nf 644 0:0 2 \"t/a\\x20b\\nc\" nl\nf 644 0:0 3 \"t/\\xff\" bytes", src: []string{"t"}, dest: "/n",
		want: "d 755 0:0 1 n\nf 644 0:0 2 \"n/a\\x20b\\nc\" nl\nf 644 0:0 3 \"n/\\xff\" bytes"},
	{name: "6.4 255 bytes", from: "f 644 0:0 2 " + strings.Repeat("n", 255) + " x", src: []string{"nn*"}, dest: "/d/", want: "d 755 0:0 now d\nf 644 0:0 2 d/" + strings.Repeat("n", 255) + " x"},
	{name: "6.4 fixed time", src: []string{"x"}, dest: "/n", o: Options{Mtime: when(5)}, want: "d 755 0:0 5 n\nd 711 0:0 5 n/y\nf 644 0:0 5 n/y/1.txt 1\nf 644 0:0 5 n/y/2.md 2\nf 644 0:0 5 n/z z"},
	{name: "19.17 whiteout names", from: "d 755 0:0 1 t\nf 644 0:0 2 t/.wh.x x", src: []string{"t"}, dest: "/n", fails: "cannot be told from a whiteout"},
	{name: "19.17 whiteout names, named", from: "f 644 0:0 2 .wh.x x", src: []string{".wh.x"}, dest: "/n/", fails: "cannot be told from a whiteout"},

	// 6.6 modes
	{name: "6.6 octal on files and directories, not links", src: []string{"d/sub"}, dest: "/n/sub", o: Options{Chmod: "0750"}, want: "d 750 0:0 now n\nd 750 0:0 1003 n/sub\nf 750 0:0 1004 n/sub/b b\nl 0 0:0 1005 n/sub/l ../a"},
	{name: "6.6 too large", src: []string{"f"}, dest: "/n", o: Options{Chmod: "10000"}, fails: "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"},
	{name: "6.6 not octal", src: []string{"f"}, dest: "/n", o: Options{Chmod: "99"}, fails: "invalid chmod parameter: '99'. it should be octal string and between 0 and 07777"},
	{name: "6.6 symbolic, by entry", src: []string{"d"}, dest: "/n", o: Options{Chmod: "go=u,u-w,+X", Excludes: []string{"suid"}}, want: "d 755 0:0 1000 n\nf 466 0:0 1001 n/a a\nd 577 0:0 1003 n/sub\nf 466 0:0 1004 n/sub/b b\nl 0 0:0 1005 n/sub/l ../a"},

	// 6.7 link
	{name: "6.7 links on the way are replaced", have: "d 755 5:6 900 real\nl 0 5:6 900 n /real", src: []string{"f"}, dest: "/n/", o: Options{Link: true}, want: "d 755 0:0 1007 n\nf 644 0:0 1007 n/f f\nd 755 5:6 900 real"},
	{name: "6.7 parents lose what they had", have: "d 1777 5:6 900 tmp\nf 644 5:6 900 tmp/keep k", src: []string{"f"}, dest: "/tmp/f", o: Options{Link: true}, want: "d 755 0:0 1007 tmp\nf 644 0:0 1007 tmp/f f\nf 644 5:6 900 tmp/keep k"},
	{name: "6.7 the destination is not asked what it is", have: "d 755 5:6 900 n\nf 644 5:6 900 n/x x", src: []string{"f"}, dest: "/n", o: Options{Link: true}, want: "f 644 0:0 1007 n f"},
	{name: "6.7 two sources share a directory", src: []string{"f", "g"}, dest: "/n/", o: Options{Link: true, UID: id(7), GID: id(8)}, want: "d 755 7:8 1008 n\nf 644 7:8 1007 n/f f\nf 600 7:8 1008 n/g g"},

	// 6.8 parents
	{name: "6.8 the chain has its sources' attributes", src: []string{"x/y/1.txt"}, dest: "/n", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 755 0:0 now n/x\nd 711 0:0 now n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1"},
	{name: "6.8 a leading dot is no pivot", src: []string{"./x/z"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 755 0:0 now n/x\nf 644 0:0 1016 n/x/z z"},
	{name: "6.8 pivot", src: []string{"x/./y/*.txt"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 711 0:0 now n/y\nf 644 0:0 1014 n/y/1.txt 1"},
	{name: "6.8 pivot behind a wildcard", src: []string{"?/./y/1*"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 711 0:0 now n/y\nf 644 0:0 1014 n/y/1.txt 1"},
	{name: "6.8 any depth", src: []string{"**/*.md"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 755 0:0 now n/x\nd 711 0:0 now n/x/y\nf 644 0:0 1015 n/x/y/2.md 2"},
	{name: "6.8 a directory with its own name", src: []string{"x/y"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 755 0:0 now n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1\nf 644 0:0 1015 n/x/y/2.md 2"},
	{name: "6.8 a directory at the top", src: []string{"empty"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 700 0:0 1006 n/empty"},
	{name: "19.20 everything", from: "d 710 3:4 1 t\nf 644 3:4 2 t/a a", src: []string{"./"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 710 0:0 1 n/t\nf 644 0:0 2 n/t/a a"},
	{name: "19.20 nothing behind the pivot", src: []string{"./x/./"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
	{name: "6.8 a missing name", src: []string{"x/q"}, dest: "/n/", o: Options{Parents: true}, fails: "no such file or directory"},
	{name: "6.8 through a link on the way", src: []string{"ld/a"}, dest: "/n/", o: Options{Parents: true}, want: "d 755 0:0 now n\nd 750 0:0 now n/ld\nf 640 0:0 1001 n/ld/a a"},

	// 6.8 and 19.3 exclude
	{name: "6.8 excludes are about the copied directory", src: []string{"x"}, dest: "/n", o: Options{Excludes: []string{"z"}}, want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2"},
	{name: "6.8 not about the context", src: []string{"x/y"}, dest: "/n", o: Options{Excludes: []string{"x/y/1.txt", "y"}}, want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
	{name: "6.8 an excluded directory with all in it", src: []string{"x"}, dest: "/n", o: Options{Excludes: []string{"y"}}, want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
	{name: "6.8 taken back", src: []string{"x"}, dest: "/n", o: Options{Excludes: []string{"y", "!y/2.md"}}, want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
	{name: "6.8 with parents, about the source's root", src: []string{"x"}, dest: "/n/", o: Options{Parents: true, Excludes: []string{"x/y/*.md"}}, want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1\nf 644 0:0 1016 n/x/z z"},
	{name: "6.8 with parents, about the pivot", src: []string{"x/./y"}, dest: "/n/", o: Options{Parents: true, Excludes: []string{"y/*.md"}}, want: "d 755 0:0 now n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
	{name: "19.3 files that a wildcard matched", src: []string{"x/y/*"}, dest: "/n/", o: Options{Excludes: []string{"*.md"}}, want: "d 755 0:0 now n\nf 644 0:0 1014 n/1.txt 1"},
	{name: "exact 6.2 all of them", src: []string{"x/y/*.md"}, dest: "/n/", o: Options{Excludes: []string{"*.md"}, AllowEmptyWildcard: true}, fails: `no items matching glob "x/y/*.md" copied (1 filtered out): no such file or directory`},

	// 6.10 and 7 ignore files
	{name: "7 an ignored file is not there", src: []string{"f"}, dest: "/n", ignore: "f", fails: `no items matching glob "f" copied (1 filtered out using /context/.dockerignore): no such file or directory`},
	{name: "7 comments, blanks, slashes", src: []string{"x"}, dest: "/n", ignore: "\ufeff# comment\n\n  /x//y/  \n", want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
	{name: "7 an indented hash is a pattern", from: "d 755 0:0 1 t\nf 644 0:0 2 t/#a a", src: []string{"t"}, dest: "/n", ignore: " #a\nt/#a", want: "d 755 0:0 1 n"},
	{name: "7 anchored at the root", src: []string{"x"}, dest: "/n", ignore: "*.md\n1.txt", want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
	{name: "7 at any depth", src: []string{"x"}, dest: "/n", ignore: "**/*.md\n**/1.txt", want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1016 n/z z"},
	{name: "7 the last line wins", src: []string{"x"}, dest: "/n", ignore: "x/z\n!x/z\nx/y", want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
	{name: "7 taken back inside", src: []string{"."}, dest: "/n", ignore: "**\n!x/y/1.txt", want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1"},
	{name: "7 taken back, blank behind the mark", src: []string{"x"}, dest: "/n", ignore: "x/y\n! x/y/2.md", want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
	{name: "7 ignored and excluded", src: []string{"x"}, dest: "/n", ignore: "x/z", o: Options{Excludes: []string{"y/*.md"}}, want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
	{name: "7 a link does not get around it", src: []string{"ld"}, dest: "/n", ignore: "d/s*", want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a"},
	{name: "7 a link to an ignored file", src: []string{"lf"}, dest: "/n", ignore: "f", fails: "no such file or directory"},
}

func when(sec int64) *time.Time {
	t := time.Unix(sec, 0)
	return &t
}

// TestSemantics runs the rows as root, the only one who can see owners and make devices.
func TestSemantics(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("owners and devices need root")
	}
	for _, c := range semantics {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.from == "" {
				c.from = contextTree
			}
			from, to := roots(t, c.from), roots(t, c.have)
			before := describe(t, to.Name())
			if c.ignore != "" {
				var err error
				if c.o.Ignore, err = ParseIgnore("/context/.dockerignore", strings.NewReader(c.ignore)); err != nil {
					t.Fatal(err)
				}
			}
			sum, derr := Digest(context.Background(), from, c.src, c.o)
			got, err := Copy(context.Background(), to, c.dest, from, c.src, c.o)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got error %v, want %q", err, c.fails)
				}
				if now := describe(t, to.Name()); derr != nil && now != before && !strings.Contains(c.fails, "whiteout") {
					t.Errorf("refused, but changed\n%s\nto\n%s", before, now)
				}
				return
			}
			if err != nil || derr != nil {
				t.Fatal(err, derr)
			}
			if now := describe(t, to.Name()); tidy(now) != tidy(c.want) {
				t.Errorf("got\n%s\nwant\n%s", tidy(now), tidy(c.want))
			}
			if sum != got {
				t.Errorf("Digest says %+v, Copy %+v", sum, got)
			}
		})
	}
}

func roots(t *testing.T, lines string) *rootfs.Root {
	t.Helper()
	dir := t.TempDir()
	if lines != "" {
		makeTree(t, dir, lines)
	}
	r, err := rootfs.Open(dir, rootfs.Apply)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
