package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A journal says in a command's directory what is to be undone of its networks, should nobody live to do it. Plugins and netavark need the
// namespace for that, so it is bound there as well, where it outlives its processes.
type journal struct {
	dir string

	Attached []*attachment // by plugins
	Joined   []*joining    // by netavark
}

const (
	journalFile      = "networks.json"
	journalNamespace = "networks.ns"
)

// openJournal begins one for a namespace.
func openJournal(dir string, ns *os.File) (*journal, error) {
	j := &journal{dir: dir}
	point, err := os.OpenFile(j.namespace(), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	point.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), j.namespace(), "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("keeping the command's network namespace: %w", err)
	}
	return j, nil
}

// namespace is the path of the namespace.
func (j *journal) namespace() string { return filepath.Join(j.dir, journalNamespace) }

// write writes what there is to undo, before it is made and after something is known of it. A killed program leaves a whole file.
func (j *journal) write() error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	name := filepath.Join(j.dir, journalFile)
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// read reads what has been written. It names programs, so only what we ourselves wrote is believed.
func (j *journal) read() error {
	f, err := os.OpenFile(filepath.Join(j.dir, journalFile), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there was nothing yet
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode != unix.S_IFREG|0o600 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is somebody else's", f.Name())
	}
	return json.NewDecoder(f).Decode(j)
}

// close ends a journal of which nothing is left to undo.
func (j *journal) close() error {
	return errors.Join(unix.Unmount(j.namespace(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW), os.Remove(j.namespace()), remove(filepath.Join(j.dir, journalFile)))
}

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Undo undoes what the journal in the directory of a killed program's command says, if there is one.
func Undo(dir string) error {
	j := &journal{dir: dir}
	var st unix.Statfs_t
	err := unix.Statfs(j.namespace(), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for networks that a killed command has left: %w", err)
	}
	ns := j.namespace()
	if st.Type != unix.NSFS_MAGIC { // the machine, or a container around us, was started anew
		ns = ""
	}
	errs := []error{j.read()}
	for _, a := range j.Attached {
		errs = append(errs, a.del(ns))
	}
	for _, n := range j.Joined {
		if ns != "" {
			errs = append(errs, n.teardown(ns))
		}
	}
	if ns != "" {
		errs = append(errs, unix.Unmount(ns, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("disconnecting networks that a killed command has left: %w", err)
	}
	return nil
}
