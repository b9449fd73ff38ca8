package layer

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A disk keeps the layer's directory in step with the tar: what one shows the other shows, whether the
// layer is used here or pulled elsewhere.
type disk interface {
	// enter makes a directory, leave completes it when all in it is done.
	enter(d *dir) error
	leave(d *dir) error
	// begin starts the regular file src. The content is to be read from the first descriptor returned and written to the
	// second, unless that is negative. end completes it, also after errors.
	begin(d *dir, name string, src int, n *node) (from, to int, err error)
	end(d *dir, name string, src int, n *node) error
	special(d *dir, name string, n *node) error
	link(d *dir, name, first string) error
	whiteout(d *dir, name string) error
	// drop is told of what is left out of the layer.
	drop(d *dir, name string, isDir bool) error
}

// untouchedDisk is for layers that are unpacked from the tar.
type untouchedDisk struct{}

func (untouchedDisk) enter(*dir) error { return nil }
func (untouchedDisk) leave(*dir) error { return nil }
func (untouchedDisk) begin(_ *dir, _ string, src int, _ *node) (int, int, error) {
	return src, -1, nil
}
func (untouchedDisk) end(*dir, string, int, *node) error { return nil }
func (untouchedDisk) special(*dir, string, *node) error  { return nil }
func (untouchedDisk) link(*dir, string, string) error    { return nil }
func (untouchedDisk) whiteout(*dir, string) error        { return nil }
func (untouchedDisk) drop(*dir, string, bool) error      { return nil }

// spentDisk changes the directory of a spent container in place, which then becomes the layer's.
type spentDisk struct {
	untouchedDisk
	o Options
}

func (s *spentDisk) end(_ *dir, _ string, src int, n *node) error {
	if err := stripAttrs(src, n); err != nil {
		return err
	}
	return s.times(src, "", n)
}

func (s *spentDisk) special(d *dir, name string, n *node) error { return s.times(d.fd(), name, n) }

func (s *spentDisk) leave(d *dir) error {
	if err := stripAttrs(d.fd(), d.n); err != nil {
		return err
	}
	return s.times(d.fd(), "", d.n)
}

// drop removes stubs, sockets and directories that were only copied up.
func (s *spentDisk) drop(d *dir, name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(d.fd(), name, flags); err != nil {
		return pathError("remove", d.child(name), err)
	}
	return nil
}

func (s *spentDisk) times(fd int, name string, n *node) error {
	if n.st.Mtim == unix.NsecToTimespec(s.o.seconds(n.st.Mtim.Sec)*1e9) && n.kind() != unix.S_IFDIR {
		return nil
	}
	return setTime(fd, name, n, s.o)
}

func stripAttrs(fd int, n *node) error {
	for _, name := range n.strip {
		if err := unix.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) {
			return pathError("removexattr "+name, n.path, err)
		}
	}
	return nil
}

// setTime gives a file the time that the tar says: that of the name in a directory, or with "" that of the open file itself.
func setTime(fd int, name string, n *node, o Options) error {
	t := unix.Timespec{Sec: o.seconds(n.st.Mtim.Sec)}
	err := unix.UtimesNanoAt(fd, name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, t}, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if err != nil {
		return pathError("utimes", n.path, err)
	}
	return nil
}
