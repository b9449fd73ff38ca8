package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// confMounts are the mounts that the host's mounts.conf files ask for in every container: lines HOST[:CONTAINER]
// (containers.md §8.3). The content is copied for the command, so that it cannot change the host's; what is not there is skipped.
func (w *Workspace) confMounts(dir string) ([]specs.Mount, error) {
	var list []specs.Mount
	taken := map[string]bool{}
	for _, file := range w.mountsFiles() {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && file != w.mountsFile() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading what to mount everywhere: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			source, target, ok := confMount(line)
			if !ok || taken[target] {
				continue
			}
			if !path.IsAbs(source) || !path.IsAbs(target) {
				return nil, fmt.Errorf("%s: %q: want absolute paths, HOST[:CONTAINER]", file, strings.TrimSpace(line))
			}
			copied := filepath.Join(dir, "mounts.conf-"+strconv.Itoa(len(list)))
			if err := copyFollowing(source, copied, 0); errors.Is(err, fs.ErrNotExist) {
				w.s.o.Log.Warn(fmt.Sprintf("%s: %s is not there, so it is not mounted", file, source))
				continue
			} else if err != nil {
				return nil, fmt.Errorf("%s: copying %s: %w", file, source, err)
			}
			taken[target] = true
			list = append(list, specs.Mount{Destination: target, Type: "bind", Source: copied, Options: []string{"bind", "private"}})
		}
	}
	return list, nil
}

// confMount reads one line; those that are empty or comments are none.
func confMount(line string) (source, target string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return "", "", false
	}
	source, target, both := strings.Cut(line, ":")
	if !both {
		target = source
	}
	return source, path.Clean(target), true
}

// mountsFile is the one that replaces all others: that which the container was made with, else the caller's.
func (w *Workspace) mountsFile() string { return first(w.about.mountsFile, w.s.o.MountsFile) }

func (w *Workspace) mountsFiles() []string {
	if one := w.mountsFile(); one != "" {
		return []string{one}
	}
	list := []string{"/etc/containers/mounts.conf", "/usr/share/containers/mounts.conf"}
	if home, _ := w.s.o.Environ("HOME"); rootless() && filepath.IsAbs(home) {
		list = append([]string{filepath.Join(home, ".config/containers/mounts.conf")}, list...)
	}
	return list
}

// maxFollowed is how deep copyFollowing goes: a link to a directory above itself would have no end.
const maxFollowed = 64

// copyFollowing copies a file or a tree of the host with its modes. Links are followed: subscriptions are made of links
// to elsewhere (exact.md, containers.md §8.3).
func copyFollowing(source, dest string, depth int) error {
	if depth > maxFollowed {
		return fmt.Errorf("%s: directories nested too deeply, or links in a circle", source)
	}
	st, err := os.Stat(source)
	switch {
	case err != nil:
		return err
	case st.Mode().IsRegular():
		return copyHostFile(source, dest, st.Mode())
	case !st.IsDir():
		return nil // neither devices nor sockets
	}
	if err := os.Mkdir(dest, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := copyFollowing(filepath.Join(source, e.Name()), filepath.Join(dest, e.Name()), depth+1)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link to nowhere
			return err
		}
	}
	return os.Chmod(dest, st.Mode()&(fs.ModePerm|fs.ModeSticky))
}

func copyHostFile(source, dest string, mode fs.FileMode) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode.Perm()), out.Close())
}
