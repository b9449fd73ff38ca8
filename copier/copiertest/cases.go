package copiertest

import (
	"strings"
	"time"

	"github.com/slipway-build/slipway/copier"
)

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

// capability is cap_net_bind_service=ep, as the kernel stores it.
const capability = "0x0100000200040000000000000000000000000000"

const attributed = "d 755 0:0 1 t\nf 755 3:4 2 t/a x\nx 0 0:0 0 t/a security.capability=" + capability + "\nx 0 0:0 0 t/a user.k=v\nd 750 0:0 3 t/s\nx 0 0:0 0 t/s user.empty=\nl 0 0:0 4 t/s/l a"

// archived is an archive, and unpacked what is in it below /n.
const (
	archived = `a 644 1:1 6 a.tar "d 750 3:4 1 d\nf 4640 3:4 2 d/f x\nh 0 0:0 0 d/h d/f\nl 0 3:4 3 d/l /f\np 620 0:0 4 p"`
	unpacked = "d 755 0:0 now n\nd 750 3:4 1 n/d\nf 4640 3:4 2 n/d/f x\nh 0 0:0 0 n/d/h n/d/f\nl 0 3:4 3 n/d/l /f\np 620 0:0 4 n/p"
)

// A Case is one row: what is copied from what to where, and the tree that results.
type Case struct {
	// Name begins with the section of dockerfile.md, or with exact.md where that wins.
	Name string
	// From and Have are the source and the destination before, in the language of [Make]; an empty From is a usual context.
	From, Have string
	Src        []string
	Dest       string
	O          copier.Options
	// Ignore is the text of an ignore file.
	Ignore string
	// Want is the destination afterwards; Fails, if set, is part of the error instead.
	Want, Fails string
}

// Source is what the case copies from.
func (c Case) Source() string {
	if c.From == "" {
		return contextTree
	}
	return c.From
}

func id(n int) *int { return &n }

func when(sec int64) *time.Time {
	t := time.Unix(sec, 0)
	return &t
}

// Cases are the rows of the tables in dockerfile.md §6 and §7.
func Cases() []Case {
	return []Case{
		// 6.2 sources
		{Name: "6.2 dots are clamped", Src: []string{"../../f"}, Dest: "/n", Want: `f 644 0:0 1007 n f`},
		{Name: "6.2 a leading slash is the root of the source", Src: []string{"/f"}, Dest: "/n", Want: `f 644 0:0 1007 n f`},
		{Name: "6.2 trailing slash of a source", Src: []string{"x/y/"}, Dest: "/n", Want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
		{Name: "6.2 dir/. is dir", Src: []string{"x/y/."}, Dest: "/n", Want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
		{Name: "6.2 star does not cross slashes", Src: []string{"x/*.txt"}, Dest: "/n/", Fails: "globs [x/*.txt] matched nothing"},
		{Name: "6.2 star in the middle", Src: []string{"x/*/1.txt"}, Dest: "/n", Want: `f 644 0:0 1014 n 1`},
		{Name: "6.2 double star is a star without parents", Src: []string{"**/z"}, Dest: "/n", Want: `f 644 0:0 1016 n z`},
		{Name: "6.2 question mark and set", Src: []string{"[fg]"}, Dest: "/n/", Want: "d 755 0:0 now n\nf 644 0:0 1007 n/f f\nf 600 0:0 1008 n/g g"},
		{Name: "6.2 escaped brackets", Src: []string{"arr[[]0].txt"}, Dest: "/n", Want: `f 644 0:0 1017 n arr`},
		{Name: "6.2 backslash", Src: []string{`arr\[0\].txt`}, Dest: "/n", Want: `f 644 0:0 1017 n arr`},
		{Name: "6.2 no match, allowed", Src: []string{"nope*"}, Dest: "/n/", O: copier.Options{AllowEmptyWildcard: true}, Want: ""},
		{Name: "6.2 a missing name is an error also then", Src: []string{"nope"}, Dest: "/n/", O: copier.Options{AllowEmptyWildcard: true}, Fails: `copier: stat: "/nope": no such file or directory`},
		{Name: "6.2 nothing is written when one of several is missing", Src: []string{"f", "nope"}, Dest: "/n/", Fails: "no such file or directory"},
		{Name: "6.2 malformed", Src: []string{"[a-"}, Dest: "/n/", O: copier.Options{AllowEmptyWildcard: true}, Fails: "syntax error in pattern"},
		{Name: "6.2 link to a file", Src: []string{"lf"}, Dest: "/n/", Want: "d 755 0:0 now n\nf 644 0:0 1007 n/lf f"},
		{Name: "6.2 absolute link stays in the source", Src: []string{"lx"}, Dest: "/n", Want: `f 644 0:0 1007 n f`},
		{Name: "6.2 link to a directory", Src: []string{"ld"}, Dest: "/n", O: copier.Options{Excludes: []string{"s*"}}, Want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a"},
		{Name: "6.2 link matched by a wildcard", Src: []string{"l[f]"}, Dest: "/n", Want: `f 644 0:0 1007 n f`},
		{Name: "6.2 inner links stay", Src: []string{"d/sub"}, Dest: "/n", Want: "d 755 0:0 1003 n\nf 600 0:0 1004 n/b b\nl 0 0:0 1005 n/l ../a"},
		{Name: "cli 9.3 no-follow-symlinks", Src: []string{"lf"}, Dest: "/n", O: copier.Options{NoFollow: true}, Want: `l 0 0:0 1009 n f`},
		{Name: "cli 9.3 no-follow-symlinks, to a directory", Src: []string{"ld"}, Dest: "/n/", O: copier.Options{NoFollow: true}, Want: "d 755 0:0 now n\nl 0 0:0 1010 n/ld d"},
		{Name: "cli 9.3 no wildcards", Src: []string{"f*"}, Dest: "/n", O: copier.Options{NoWildcard: true}, Fails: "wildcards are not allowed"},

		// 6.3 destination
		{Name: "6.3 file to a name", Src: []string{"f"}, Dest: "/p/q/n", Want: "d 755 0:0 now p\nd 755 0:0 now p/q\nf 644 0:0 1007 p/q/n f"},
		{Name: "6.3 into an existing directory", Have: "d 1777 5:6 900 n", Src: []string{"f"}, Dest: "/n", Want: "d 1777 5:6 now n\nf 644 0:0 1007 n/f f"},
		{Name: "6.3 destination through a link", Have: "d 700 5:6 900 real\nl 0 5:6 900 n real", Src: []string{"f"}, Dest: "/n/", Want: "l 0 5:6 900 n real\nd 700 5:6 now real\nf 644 0:0 1007 real/f f"},
		{Name: "6.3 absolute link cannot leave", Have: "l 0 5:6 900 n /../../r", Src: []string{"f"}, Dest: "/n/", Want: "l 0 5:6 900 n /../../r\nd 755 0:0 now r\nf 644 0:0 1007 r/f f"},
		{Name: "6.3 dangling final link", Have: "d 755 0:0 900 real\nl 0 0:0 900 n /real/target", Src: []string{"f"}, Dest: "/n", Want: "l 0 0:0 900 n /real/target\nd 755 0:0 now real\nf 644 0:0 1007 real/target f"},
		{Name: "6.3 looping link", Have: "l 0 0:0 900 n n", Src: []string{"f"}, Dest: "/n", Fails: "too many levels of symbolic links"},
		{Name: "6.3 existing file is a new inode", Have: "f 777 5:6 900 n old\nh 0 0:0 0 other n", Src: []string{"f"}, Dest: "/n", Want: "f 644 0:0 1007 n f\nf 777 5:6 900 other old"},
		{Name: "6.3 contents are merged, subdirectories take over", Have: "d 1777 5:6 900 n\nd 700 5:6 900 n/sub\nf 600 5:6 900 n/sub/keep k\nf 600 5:6 900 n/a old",
			Src: []string{"d"}, Dest: "/n", Want: "d 1777 5:6 1000 n\nf 640 0:0 1001 n/a a\nd 2711 0:0 1003 n/sub\nf 600 0:0 1004 n/sub/b b\nf 600 5:6 900 n/sub/keep k\nl 0 0:0 1005 n/sub/l ../a\nf 4755 0:0 1002 n/suid s"},
		{Name: "6.3 top of a new directory", Src: []string{"empty"}, Dest: "/n1", Want: "d 755 0:0 1006 n1"},
		{Name: "6.3 top of a new directory, owner", Src: []string{"empty"}, Dest: "/n1/n2", O: copier.Options{UID: id(7), GID: id(8)}, Want: "d 755 7:8 now n1\nd 755 7:8 1006 n1/n2"},
		{Name: "6.3 implicit parents have an octal mode", Src: []string{"f"}, Dest: "/y/z/x", O: copier.Options{Chmod: "600"}, Want: "d 600 0:0 now y\nd 600 0:0 now y/z\nf 600 0:0 1007 y/z/x f"},
		{Name: "6.3 implicit parents have no special bits", Src: []string{"f"}, Dest: "/y/x", O: copier.Options{Chmod: "4711"}, Want: "d 711 0:0 now y\nf 4711 0:0 1007 y/x f"},
		{Name: "6.3 implicit parents have no symbolic mode", Src: []string{"f"}, Dest: "/y/x", O: copier.Options{Chmod: "go-rwx"}, Want: "d 755 0:0 now y\nf 600 0:0 1007 y/x f"},
		{Name: "6.3 file over directory", Have: "d 755 0:0 900 n\nd 755 0:0 900 n/f", Src: []string{"f"}, Dest: "/n/", Fails: "cannot replace to directory /n/f with file"},
		{Name: "6.3 directory over file", Have: "d 755 0:0 900 n\nf 644 0:0 900 n/sub x", Src: []string{"d"}, Dest: "/n/", Fails: "cannot copy to non-directory: /n/sub"},
		{Name: "6.3 directory onto a file", Have: "f 644 0:0 900 n x", Src: []string{"d"}, Dest: "/n", Fails: "destination /n already exists but is not a directory"},
		{Name: "6.3 several to one Name: the last wins", Src: []string{"f", "g"}, Dest: "/n", Want: "f 600 0:0 1008 n g"},
		{Name: "6.3 a link in a merged directory is replaced", Have: "d 755 0:0 900 n\nl 0 0:0 900 n/a /v\nf 644 0:0 900 v victim", Src: []string{"d"}, Dest: "/n", O: copier.Options{Excludes: []string{"s*"}},
			Want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a\nf 644 0:0 900 v victim"},

		// 6.4 what is copied
		{Name: "6.4 hard links of one tree stay", From: "d 755 0:0 1 t\nf 640 3:4 2 t/a x\nh 0 0:0 0 t/b t/a\nf 600 0:0 3 t/c c", Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nf 640 0:0 2 n/a x\nh 0 0:0 0 n/b n/a\nf 600 0:0 3 n/c c"},
		{Name: "6.4 hard links of two sources do not", From: "f 640 3:4 2 a x\nh 0 0:0 0 b a", Src: []string{"a", "b"}, Dest: "/n/", Want: "d 755 0:0 now n\nf 640 0:0 2 n/a x\nf 640 0:0 2 n/b x"},
		{Name: "6.4 hard links onto one name", From: "d 755 0:0 1 p\nf 640 3:4 2 p/a x\nd 755 0:0 1 q\nh 0 0:0 0 q/a p/a", Src: []string{"*/a"}, Dest: "/n/", Want: "d 755 0:0 now n\nf 640 0:0 2 n/a x"},
		{Name: "6.4 special files", From: "d 755 0:0 1 t\np 620 3:4 2 t/p\nc 666 0:0 3 t/null 1:3\ns 777 0:0 4 t/s", Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nc 666 0:0 3 n/null 1:3\np 620 0:0 2 n/p\nf 777 0:0 4 n/s"},
		{Name: "6.4 special bits stay", From: "f 6755 0:0 1 a x\nd 3777 0:0 2 t\nd 3770 0:0 3 t/u", Src: []string{"a", "t"}, Dest: "/n/", Want: "d 755 0:0 2 n\nf 6755 0:0 1 n/a x\nd 3770 0:0 3 n/u"},
		{Name: "6.4 owners are kept with --from", Src: []string{"d/sub"}, Dest: "/n", O: copier.Options{KeepOwner: true}, Want: "d 755 0:0 1003 n\nf 600 12:13 1004 n/b b\nl 0 12:13 1005 n/l ../a"},
		{Name: "6.4 --chown wins over kept owners", Src: []string{"d/sub"}, Dest: "/n", O: copier.Options{KeepOwner: true, UID: id(7), GID: id(8)}, Want: "d 755 7:8 1003 n\nf 600 7:8 1004 n/b b\nl 0 7:8 1005 n/l ../a"},
		{Name: "6.4 odd names", From: "d 755 0:0 1 t\nf 644 0:0 2 \"t/a\\x20b\\nc\" nl\nf 644 0:0 3 \"t/\\xff\" bytes", Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nf 644 0:0 2 \"n/a\\x20b\\nc\" nl\nf 644 0:0 3 \"n/\\xff\" bytes"},
		{Name: "6.4 255 bytes", From: "f 644 0:0 2 " + strings.Repeat("n", 255) + " x", Src: []string{"nn*"}, Dest: "/d/", Want: "d 755 0:0 now d\nf 644 0:0 2 d/" + strings.Repeat("n", 255) + " x"},
		{Name: "6.4 fixed time", Src: []string{"x"}, Dest: "/n", O: copier.Options{Mtime: when(5)}, Want: "d 755 0:0 5 n\nd 711 0:0 5 n/y\nf 644 0:0 5 n/y/1.txt 1\nf 644 0:0 5 n/y/2.md 2\nf 644 0:0 5 n/z z"},
		{Name: "6.4 attributes of users and capabilities", From: attributed, Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nf 755 0:0 2 n/a x\nx 0 0:0 0 n/a security.capability=" + capability + "\nx 0 0:0 0 n/a user.k=v\nd 750 0:0 3 n/s\nx 0 0:0 0 n/s user.empty=\nl 0 0:0 4 n/s/l a"},
		{Name: "6.4 a change of owner leaves capabilities", From: attributed, Src: []string{"t/a"}, Dest: "/n", O: copier.Options{UID: id(7), GID: id(8)},
			Want: "f 755 7:8 2 n x\nx 0 0:0 0 n security.capability=" + capability + "\nx 0 0:0 0 n user.k=v"},
		{Name: "6.4 attributes that are not the file's stay behind", From: "f 644 0:0 2 a x\nx 0 0:0 0 a trusted.k=v\nx 0 0:0 0 a user.overlay.opaque=y\nx 0 0:0 0 a user.containers.override_stat=0:0:0644\nx 0 0:0 0 a user.k=v",
			Src: []string{"a"}, Dest: "/n", Want: "f 644 0:0 2 n x\nx 0 0:0 0 n user.k=v"},
		{Name: "6.4 a file in the way takes its attributes along", From: "f 644 0:0 2 a x", Have: "f 644 0:0 2 n old\nx 0 0:0 0 n user.old=v", Src: []string{"a"}, Dest: "/n", Want: "f 644 0:0 2 n x"},
		{Name: "6.4 absurd times", From: "d 755 0:0 1 t\nf 644 0:0 0 t/epoch x\nf 644 0:0 -86400 t/before x\nf 644 0:0 10000000000 t/after x", Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nf 644 0:0 10000000000 n/after x\nf 644 0:0 -86400 n/before x\nf 644 0:0 0 n/epoch x"},
		{Name: "6.4 large ids", From: "f 644 4294967294:4294967294 2 a x", Src: []string{"a"}, Dest: "/n", O: copier.Options{KeepOwner: true}, Want: "f 644 4294967294:4294967294 2 n x"},
		{Name: "6.4 --chown of hard links", From: "d 755 0:0 1 t\nf 4755 3:4 2 t/a x\nh 0 0:0 0 t/b t/a", Src: []string{"t"}, Dest: "/n", O: copier.Options{UID: id(7), GID: id(8)}, Want: "d 755 7:8 1 n\nf 4755 7:8 2 n/a x\nh 0 0:0 0 n/b n/a"},
		{Name: "6.4 a link with an endless target", From: "d 755 0:0 1 t\nl 0 0:0 2 t/l " + strings.Repeat("x/", 2000) + "\nl 0 0:0 3 t/m \xff/../..", Src: []string{"t"}, Dest: "/n",
			Want: "d 755 0:0 1 n\nl 0 0:0 2 n/l " + strings.Repeat("x/", 2000) + "\nl 0 0:0 3 n/m \xff/../.."},
		{Name: "19.17 whiteout names", From: "d 755 0:0 1 t\nf 644 0:0 2 t/.wh.x x", Src: []string{"t"}, Dest: "/n", Fails: "cannot be told from a whiteout"},
		{Name: "19.17 whiteout names, named", From: "f 644 0:0 2 .wh.x x", Src: []string{".wh.x"}, Dest: "/n/", Fails: "cannot be told from a whiteout"},
		{Name: "19.17 whiteout names of the destination", Src: []string{"f"}, Dest: "/n/.wh.f", Fails: "cannot be told from a whiteout"},
		{Name: "19.17 whiteout names on the way", Src: []string{"f"}, Dest: "/.wh.n/f", Fails: "cannot be told from a whiteout"},
		{Name: "19.17 whiteout names of a directory", Src: []string{"d"}, Dest: "/n/.wh.d", Fails: "cannot be told from a whiteout"},

		// 6.9 archives
		{Name: "6.9 a tar, with the owners in it", From: archived, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true}, Want: unpacked},
		{Name: "6.9 gzip", From: strings.ReplaceAll(archived, "a.tar", "a.gz"), Src: []string{"a.gz"}, Dest: "/n", O: copier.Options{Unpack: true}, Want: unpacked},
		{Name: "6.9 zstd, a slash changes nothing", From: strings.ReplaceAll(archived, "a.tar", "a.zst"), Src: []string{"a.zst"}, Dest: "/n/", O: copier.Options{Unpack: true}, Want: unpacked},
		{Name: "6.9 xz, whatever it is called", From: strings.ReplaceAll(archived, "a.tar", "a.xz") + "\nl 0 0:0 9 text.txt a.xz", Src: []string{"text.txt"}, Dest: "/n", O: copier.Options{Unpack: true}, Want: unpacked},
		{Name: "6.9 copy does not unpack", From: "a 640 0:0 6 a.tar \"\"", Src: []string{"a.tar"}, Dest: "/n/", Want: "d 755 0:0 now n\nf 640 0:0 6 n/a.tar " + strings.Repeat("\x00", 1024)},
		{Name: "6.9 what is no archive is copied", From: "f 640 0:0 6 empty \nf 640 0:0 6 zip PK\x03\x04x\nf 640 0:0 6 gz \x1f\x8bnot", Src: []string{"*"}, Dest: "/n/", O: copier.Options{Unpack: true},
			Want: "d 755 0:0 now n\nf 640 0:0 6 n/empty\nf 640 0:0 6 n/gz \x1f\x8bnot\nf 640 0:0 6 n/zip PK\x03\x04x"},
		{Name: "6.9 archives and files together", From: archived + "\nf 644 1:1 9 aa x", Src: []string{"a*"}, Dest: "/n/", O: copier.Options{Unpack: true}, Want: unpacked + "\nf 644 0:0 9 n/aa x"},
		{Name: "6.9 --chown is about members too", From: archived, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true, UID: id(7), GID: id(8)},
			Want: "d 755 7:8 now n\nd 750 7:8 1 n/d\nf 4640 7:8 2 n/d/f x\nh 0 0:0 0 n/d/h n/d/f\nl 0 7:8 3 n/d/l /f\np 620 7:8 4 n/p"},
		{Name: "6.9 --chmod is not", From: archived, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true, Chmod: "700"}, Want: strings.Replace(unpacked, "d 755", "d 700", 1)},
		{Name: "6.9 what is there stays, and gives way", From: archived, Have: "d 700 5:6 900 n\nd 711 5:6 900 n/d\nf 600 5:6 900 n/d/keep k\nd 700 5:6 900 n/d/f\nf 600 5:6 900 n/d/f/gone g\nf 600 5:6 900 n/p x", Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true},
			Want: strings.Replace(unpacked, "d 755 0:0", "d 700 5:6", 1) + "\nf 600 5:6 900 n/d/keep k"},
		{Name: "6.9 attributes in archives", From: `a 644 0:0 1 a.tar "f 644 0:0 2 f x\nx 0 0:0 0 f user.k=v"`, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true}, Want: "d 755 0:0 now n\nf 644 0:0 2 n/f x\nx 0 0:0 0 n/f user.k=v"},
		{Name: "6.9 names that climb stay below", From: `a 644 0:0 1 a.tar "f 644 0:0 2 ../../f x"`, Src: []string{"a.tar"}, Dest: "/n/m", O: copier.Options{Unpack: true}, Want: "d 755 0:0 now n\nd 755 0:0 now n/m\nf 644 0:0 2 n/m/f x"},
		{Name: "6.9 through a link of its own", From: `a 644 0:0 1 a.tar "l 0 0:0 1 l /e\nf 644 0:0 2 l/f x"`, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true}, Want: "d 755 0:0 now n\nd 755 0:0 now n/e\nf 644 0:0 2 n/e/f x\nl 0 0:0 1 n/l /e"},
		{Name: "19.17 whiteouts in archives", From: `a 644 0:0 1 a.tar "f 644 0:0 2 .wh.f x"`, Src: []string{"a.tar"}, Dest: "/n", O: copier.Options{Unpack: true}, Fails: "cannot be told from a whiteout"},

		// 6.6 modes
		{Name: "6.6 octal on files and directories, not links", Src: []string{"d/sub"}, Dest: "/n/sub", O: copier.Options{Chmod: "0750"}, Want: "d 750 0:0 now n\nd 750 0:0 1003 n/sub\nf 750 0:0 1004 n/sub/b b\nl 0 0:0 1005 n/sub/l ../a"},
		{Name: "6.6 too large", Src: []string{"f"}, Dest: "/n", O: copier.Options{Chmod: "10000"}, Fails: "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"},
		{Name: "6.6 not octal", Src: []string{"f"}, Dest: "/n", O: copier.Options{Chmod: "99"}, Fails: "invalid chmod parameter: '99'. it should be octal string and between 0 and 07777"},
		{Name: "6.6 symbolic, by entry", Src: []string{"d"}, Dest: "/n", O: copier.Options{Chmod: "go=u,u-w,+X", Excludes: []string{"suid"}}, Want: "d 755 0:0 1000 n\nf 466 0:0 1001 n/a a\nd 577 0:0 1003 n/sub\nf 466 0:0 1004 n/sub/b b\nl 0 0:0 1005 n/sub/l ../a"},

		// 6.7 link
		{Name: "6.7 links on the way are replaced", Have: "d 755 5:6 900 real\nl 0 5:6 900 n /real", Src: []string{"f"}, Dest: "/n/", O: copier.Options{Link: true}, Want: "d 755 0:0 1007 n\nf 644 0:0 1007 n/f f\nd 755 5:6 900 real"},
		{Name: "6.7 parents lose what they had", Have: "d 1777 5:6 900 tmp\nf 644 5:6 900 tmp/keep k", Src: []string{"f"}, Dest: "/tmp/f", O: copier.Options{Link: true}, Want: "d 755 0:0 1007 tmp\nf 644 0:0 1007 tmp/f f\nf 644 5:6 900 tmp/keep k"},
		{Name: "6.7 the destination is not asked what it is", Have: "d 755 5:6 900 n\nf 644 5:6 900 n/x x", Src: []string{"f"}, Dest: "/n", O: copier.Options{Link: true}, Want: "f 644 0:0 1007 n f"},
		{Name: "6.7 two sources share a directory", Src: []string{"f", "g"}, Dest: "/n/", O: copier.Options{Link: true, UID: id(7), GID: id(8)}, Want: "d 755 7:8 1008 n\nf 644 7:8 1007 n/f f\nf 600 7:8 1008 n/g g"},

		{Name: "6.6 and 6.7 symbolic, not the directories on the way", Src: []string{"f"}, Dest: "/n/m/", O: copier.Options{Link: true, Chmod: "a=r,u+s"}, Want: "d 755 0:0 1007 n\nd 755 0:0 1007 n/m\nf 4444 0:0 1007 n/m/f f"},
		{Name: "6.6 and 6.7 octal, their permission bits", Src: []string{"f"}, Dest: "/n/m/", O: copier.Options{Link: true, Chmod: "4750"}, Want: "d 750 0:0 1007 n\nd 750 0:0 1007 n/m\nf 4750 0:0 1007 n/m/f f"},

		// 6.8 parents
		{Name: "6.8 the chain has its sources' attributes", Src: []string{"x/y/1.txt"}, Dest: "/n", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1"},
		{Name: "6.8 the chain, in a layer of its own", Src: []string{"x/y/1.txt"}, Dest: "/n", O: copier.Options{Parents: true, Link: true, KeepOwner: true}, Want: "d 755 0:0 1014 n\nd 755 10:11 1012 n/x\nd 711 10:11 1013 n/x/y\nf 644 10:11 1014 n/x/y/1.txt 1"},
		{Name: "6.8 a leading dot is no pivot", Src: []string{"./x/z"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nf 644 0:0 1016 n/x/z z"},
		{Name: "6.8 pivot", Src: []string{"x/./y/*.txt"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
		{Name: "6.8 pivot behind a wildcard", Src: []string{"?/./y/1*"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
		{Name: "6.8 any depth", Src: []string{"**/*.md"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1015 n/x/y/2.md 2"},
		{Name: "6.8 any depth, in several ways", Src: []string{"**/**/*/**/**/2.md"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1015 n/x/y/2.md 2"},
		{Name: "6.8 a directory with its own name", Src: []string{"x/y"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1\nf 644 0:0 1015 n/x/y/2.md 2"},
		{Name: "6.8 a directory at the top", Src: []string{"empty"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 700 0:0 1006 n/empty"},
		{Name: "19.20 everything", From: "d 710 3:4 1 t\nf 644 3:4 2 t/a a", Src: []string{"./"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 710 0:0 1 n/t\nf 644 0:0 2 n/t/a a"},
		{Name: "19.20 nothing behind the pivot", Src: []string{"./x/./"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
		{Name: "6.8 a missing name", Src: []string{"x/q"}, Dest: "/n/", O: copier.Options{Parents: true}, Fails: "no such file or directory"},
		{Name: "6.8 through a link on the way", Src: []string{"ld/a"}, Dest: "/n/", O: copier.Options{Parents: true}, Want: "d 755 0:0 now n\nd 750 0:0 1000 n/ld\nf 640 0:0 1001 n/ld/a a"},

		// 6.8 and 19.3 exclude
		{Name: "6.8 excludes are about the copied directory", Src: []string{"x"}, Dest: "/n", O: copier.Options{Excludes: []string{"z"}}, Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2"},
		{Name: "6.8 excludes may begin with a slash", Src: []string{"x"}, Dest: "/n", O: copier.Options{Excludes: []string{"/y/", "!/y/2.md"}}, Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
		{Name: "6.8 not about the context", Src: []string{"x/y"}, Dest: "/n", O: copier.Options{Excludes: []string{"x/y/1.txt", "y"}}, Want: "d 755 0:0 1013 n\nf 644 0:0 1014 n/1.txt 1\nf 644 0:0 1015 n/2.md 2"},
		{Name: "6.8 an excluded directory with all in it", Src: []string{"x"}, Dest: "/n", O: copier.Options{Excludes: []string{"y"}}, Want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
		{Name: "6.8 taken back", Src: []string{"x"}, Dest: "/n", O: copier.Options{Excludes: []string{"y", "!y/2.md"}}, Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
		{Name: "6.8 with parents, about the source's root", Src: []string{"x"}, Dest: "/n/", O: copier.Options{Parents: true, Excludes: []string{"x/y/*.md"}}, Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1\nf 644 0:0 1016 n/x/z z"},
		{Name: "6.8 with parents, about the pivot", Src: []string{"x/./y"}, Dest: "/n/", O: copier.Options{Parents: true, Excludes: []string{"y/*.md"}}, Want: "d 755 0:0 now n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
		{Name: "19.3 files that a wildcard matched", Src: []string{"x/y/*"}, Dest: "/n/", O: copier.Options{Excludes: []string{"*.md"}}, Want: "d 755 0:0 now n\nf 644 0:0 1014 n/1.txt 1"},
		{Name: "exact 6.2 all of them", Src: []string{"x/y/*.md"}, Dest: "/n/", O: copier.Options{Excludes: []string{"*.md"}, AllowEmptyWildcard: true}, Fails: `no items matching glob "x/y/*.md" copied (1 filtered out): no such file or directory`},

		// 6.10 and 7 ignore files
		{Name: "7 an ignored file is not there", Src: []string{"f"}, Dest: "/n", Ignore: "f", Fails: `no items matching glob "f" copied (1 filtered out using /context/.dockerignore): no such file or directory`},
		{Name: "7 comments, blanks, slashes", Src: []string{"x"}, Dest: "/n", Ignore: "\ufeff# comment\n\n  /x//y/  \n", Want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
		{Name: "7 an indented hash is a pattern", From: "d 755 0:0 1 t\nf 644 0:0 2 t/#a a", Src: []string{"t"}, Dest: "/n", Ignore: " #a\nt/#a", Want: "d 755 0:0 1 n"},
		{Name: "7 anchored at the root", Src: []string{"x"}, Dest: "/n", Ignore: "*.md\n1.txt", Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
		{Name: "7 at any depth", Src: []string{"x"}, Dest: "/n", Ignore: "**/*.md\n**/1.txt", Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1016 n/z z"},
		{Name: "7 the last line wins", Src: []string{"x"}, Dest: "/n", Ignore: "x/z\n!x/z\nx/y", Want: "d 755 0:0 1012 n\nf 644 0:0 1016 n/z z"},
		{Name: "7 taken back inside", Src: []string{"."}, Dest: "/n", Ignore: "**\n!x/y/1.txt", Want: "d 755 0:0 now n\nd 755 0:0 1012 n/x\nd 711 0:0 1013 n/x/y\nf 644 0:0 1014 n/x/y/1.txt 1"},
		{Name: "7 taken back, blank behind the mark", Src: []string{"x"}, Dest: "/n", Ignore: "x/y\n! x/y/2.md", Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1015 n/y/2.md 2\nf 644 0:0 1016 n/z z"},
		{Name: "7 ignored and excluded", Src: []string{"x"}, Dest: "/n", Ignore: "x/z", O: copier.Options{Excludes: []string{"y/*.md"}}, Want: "d 755 0:0 1012 n\nd 711 0:0 1013 n/y\nf 644 0:0 1014 n/y/1.txt 1"},
		{Name: "7 a link does not get around it", Src: []string{"ld"}, Dest: "/n", Ignore: "d/s*", Want: "d 755 0:0 1000 n\nf 640 0:0 1001 n/a a"},
		{Name: "7 an ignored link leads nowhere", Src: []string{"lf"}, Dest: "/n", Ignore: "lf", Fails: "no such file or directory"},
		{Name: "7 nor does one on the way", Src: []string{"ld/a"}, Dest: "/n", Ignore: "ld", Fails: "no such file or directory"},
		{Name: "7 nor one that a wildcard matches", Src: []string{"l?"}, Dest: "/n/", Ignore: "l[dx]", Want: "d 755 0:0 now n\nf 644 0:0 1007 n/lf f"},
		{Name: "7 a link to an ignored file", Src: []string{"lf"}, Dest: "/n", Ignore: "f", Fails: "no such file or directory"},
	}
}
