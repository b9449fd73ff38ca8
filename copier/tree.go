package copier

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A spot is where the walk through a source is, by the names that matter: at is the path below the source root,
// which the ignore file is about; rel the path below the copied directory, which the digest has; ex the path that
// excludes are about. The verdicts are those on it.
type spot struct {
	at, rel, ex       string
	ignored, excluded verdict
}

// enter goes to the entry called name.
func (c *copying) enter(s spot, name string) spot {
	in := spot{at: join(s.at, name), rel: join(s.rel, name), ex: join(s.ex, name)}
	in.ignored = c.o.Ignore.below(s.ignored, in.at)
	in.excluded = c.exclude.below(s.excluded, in.ex)
	return in
}

// join is path.Join for clean names.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (s spot) out() bool { return s.ignored.out || s.excluded.out }

// within tells whether something inside an excluded directory can be taken back. Both lists must let it through.
func (c *copying) within(s spot) bool {
	return (!s.ignored.out || c.o.Ignore.Within(s.at)) && (!s.excluded.out || c.exclude.Within(s.ex))
}

// opener opens the directory that something is copied to, at the latest possible time: an excluded directory is made
// only when something inside is taken back. It gives nil when only a digest is made.
type opener func() (*rootfs.Dir, error)

// tree merges the contents of a directory into dest.
func (c *copying) tree(src *rootfs.Root, it item, dest string) error {
	from, err := src.Dir(it.path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, attrs, err := c.topOf(from)
	if err != nil {
		return err
	}
	s := spot{at: trim(it.path), ex: it.ex}
	s.ignored, s.excluded = c.o.Ignore.at(s.at), c.exclude.at(s.ex)
	if c.dst == nil {
		c.add("", info, "", attrs, nil)
		return c.children(from, s, func() (*rootfs.Dir, error) { return nil, nil })
	}
	to, _, err := c.mkdirAll(dest)
	if err != nil {
		return err
	}
	defer to.Close()
	if c.top, err = to.Lstat("."); err != nil {
		return err
	}
	if c.o.Top {
		if err := c.attributes(to.At("."), info, attrs); err != nil {
			return err
		}
	}
	c.add("", info, "", attrs, nil)
	if err := c.children(from, s, func() (*rootfs.Dir, error) { return to, nil }); err != nil {
		return err
	}
	return to.Utimes(".", c.mtime(it.info))
}

// topOf is what of a directory that is copied counts itself: that it is one, or with Top everything.
func (c *copying) topOf(from *rootfs.Dir) (info rootfs.Info, attrs map[string][]byte, err error) {
	if info, err = from.Lstat("."); err != nil {
		return info, nil, err
	}
	if err := c.avoid(info); err != nil {
		return info, nil, err
	}
	if !c.o.Top {
		return rootfs.Info{Mode: unix.S_IFDIR}, nil, nil
	}
	attrs, err = from.Xattrs(".")
	return info, attrs, err
}

// chunk is how many entries of a directory are looked at together: enough to share among processors, and a bound on memory.
const chunk = 512

// A job is one entry to copy. A worker fills in the rest when it has copied it.
type job struct {
	spot  spot
	entry rootfs.Entry
	done  bool
	err   error
	got   result
}

// result is what is known of an entry once it was read.
type result struct {
	info  rootfs.Info
	attrs map[string][]byte
	sum   []byte
}

// children copies the entries of a directory. Regular files are copied by several workers; everything is
// counted, and everything else made, in the order of names.
func (c *copying) children(from *rootfs.Dir, s spot, to opener) error {
	entries, err := from.Entries()
	if err != nil {
		return err
	}
	for part := range slices.Chunk(entries, chunk) {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		jobs, err := c.look(from, part, s)
		if err != nil {
			return err
		}
		if err := c.regular(from, jobs, to); err != nil {
			return err
		}
		for i := range jobs {
			if err := c.finish(from, &jobs[i], to); err != nil {
				return err
			}
		}
	}
	return nil
}

// look decides what of a part of a directory is copied.
func (c *copying) look(from *rootfs.Dir, entries []rootfs.Entry, s spot) ([]job, error) {
	jobs := make([]job, 0, len(entries))
	for _, e := range entries {
		j := job{spot: c.enter(s, e.Name), entry: e}
		if j.entry.Type == 0 {
			info, err := from.Lstat(e.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone since the directory was read
			}
			if err != nil {
				return nil, err
			}
			j.entry.Type = info.Mode & unix.S_IFMT
		}
		if j.spot.out() && (j.entry.Type != unix.S_IFDIR || !c.within(j.spot)) {
			continue
		}
		if err := refuseWhiteout(e.Name); err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// regular copies the regular files among jobs that no other name is linked to.
func (c *copying) regular(from *rootfs.Dir, jobs []job, to opener) error {
	var files []*job
	for i := range jobs {
		if jobs[i].entry.Type == unix.S_IFREG {
			files = append(files, &jobs[i])
		}
	}
	if len(files) == 0 {
		return nil
	}
	dir, err := to()
	if err != nil {
		return err
	}
	var next atomic.Int64
	var failed atomic.Bool
	take := func() *job {
		if n := int(next.Add(1)) - 1; n < len(files) {
			return files[n]
		}
		return nil
	}
	work := func(buf []byte) {
		for more := true; more && !failed.Load() && c.ctx.Err() == nil; {
			var ok bool
			if more, ok = c.some(from, take, dir, buf); !ok {
				failed.Store(true)
			}
		}
	}
	var all sync.WaitGroup
	for n := 1; n < min(runtime.GOMAXPROCS(0), maxWorkers, len(files)/4); n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			work(c.buffer(n))
		}()
	}
	work(c.buffer(0))
	all.Wait()
	return c.ctx.Err()
}

// maxWorkers bounds the buffers that one copy needs.
const maxWorkers = 8

// A worker makes a few small files at a time, and fills them then. Only one at a time may make entries of a directory, in the kernel too, and
// to wait for that at each file costs more than the file.
const (
	someFiles = 8
	someBytes = 128 << 10
)

// opened is a file on its way to be copied.
type opened struct {
	*job
	from, out *rootfs.File
}

// some copies the next few regular files. more says that there may be others, ok that nothing failed. What turns out to be something else
// by now, or has other names, is left to finish.
func (c *copying) some(from *rootfs.Dir, take func() *job, to *rootfs.Dir, buf []byte) (more, ok bool) {
	var files []opened
	var bytes int64
	for more = true; more && len(files) < someFiles && bytes < someBytes; {
		j := take()
		if more = j != nil; !more {
			break
		}
		f, info, err := from.Regular(j.entry.Name)
		if err != nil {
			continue
		}
		defer f.Close()
		if info.Nlink == 1 {
			j.got.info = info
			j.got.attrs, j.err = f.Xattrs()
			files, bytes = append(files, opened{job: j, from: f}), bytes+info.Size
		}
	}
	if to != nil {
		c.make(files, to)
	}
	ok = true
	for _, f := range files {
		f.copy(c, to, buf)
		ok = ok && f.done
	}
	return more, ok
}

// make makes new files.
func (c *copying) make(files []opened, to *rootfs.Dir) {
	c.creating.Lock()
	defer c.creating.Unlock()
	for i := range files {
		f := &files[i]
		if f.err == nil {
			f.out, f.err = c.create(place{to, f.entry.Name}, c.beginning(f.got.info))
		}
	}
}

// copy fills a file that was made, or hashes one where none was to be.
func (f *opened) copy(c *copying, to *rootfs.Dir, buf []byte) {
	if f.err != nil {
		return
	}
	if to == nil {
		f.got.sum, f.err = c.indexedSum(f.from, f.got.info, buf)
	} else {
		f.err = c.fill(f.out, f.from, &f.got, place{to, f.entry.Name}, buf)
	}
	f.done = f.err == nil
}

// finish counts a file that was copied, and copies everything else.
func (c *copying) finish(from *rootfs.Dir, j *job, to opener) error {
	switch {
	case j.err != nil:
		return j.err
	case j.done:
		c.add(j.spot.rel, j.got.info, "", j.got.attrs, j.got.sum)
		return nil
	case j.entry.Type == unix.S_IFDIR:
		return c.subtree(from, j.entry.Name, j.spot, to)
	}
	dir, err := to()
	if err != nil {
		return err
	}
	err = c.entry(from, j.entry.Name, place{dir, j.entry.Name}, j.spot.rel)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func (c *copying) avoid(dir rootfs.Info) error {
	if c.o.Avoid == nil {
		return nil
	}
	return c.o.Avoid(dir)
}

// subtree copies a directory inside a copied one.
func (c *copying) subtree(from *rootfs.Dir, name string, s spot, to opener) error {
	if len(s.at) > rootfs.MaxPath {
		return &rootfs.PathError{Op: "open", Path: s.at, Err: unix.ENAMETOOLONG}
	}
	sub, err := from.Dir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since the directory was read
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	info, err := sub.Lstat(".")
	if err != nil {
		return err
	}
	if err := c.avoid(info); err != nil {
		return err
	}
	if c.dst != nil && info.Dev == c.top.Dev && info.Ino == c.top.Ino {
		return fmt.Errorf("the destination is inside what is copied, as %q: a directory cannot be copied into itself", "/"+rootfs.Short(s.at))
	}
	attrs, err := sub.Xattrs(".")
	if err != nil {
		return err
	}
	m := making{c: c, parent: to, name: name, rel: s.rel, info: info, attrs: attrs}
	if !s.out() {
		if _, err := m.open(); err != nil {
			return err
		}
	}
	err = c.children(sub, s, m.open)
	if m.dir == nil {
		return err
	}
	defer m.dir.Close()
	if err == nil {
		err = m.dir.Utimes(".", c.mtime(info))
	}
	return err
}

// making is a directory that is made when it is needed first.
type making struct {
	c         *copying
	parent    opener
	name, rel string
	info      rootfs.Info
	attrs     map[string][]byte
	counted   bool
	dir       *rootfs.Dir
}

func (m *making) open() (*rootfs.Dir, error) {
	if m.counted {
		return m.dir, nil
	}
	parent, err := m.parent() // parents first, in the digest too
	if err != nil {
		return nil, err
	}
	m.counted = true
	m.c.add(m.rel, m.info, "", m.attrs, nil)
	if parent == nil {
		return nil, nil
	}
	m.dir, err = m.c.mkdir(parent, m.name, m.info, m.attrs)
	return m.dir, err
}

func trim(name string) string {
	return path.Clean("/" + name)[1:]
}
