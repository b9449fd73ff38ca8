package spec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// User is who a command runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, the primary one first
	Home     string
}

// An UnknownError says that a name is in no account file.
type UnknownError string

func (e UnknownError) Error() string { return string(e) }

// A fileReader reads files of a container: a *rootfs.Root.
type fileReader interface {
	ReadFile(name string, limit int64) ([]byte, error)
}

const maxAccounts = 10 << 20

// LookupUser resolves "user[:group]", by name or number, in the container's own files (containers.md §8.1).
// Without a group, the user's primary and supplementary groups apply; with one, only that. A number without an entry is fine, with
// group 0; an unknown name is an error.
func LookupUser(r fileReader, text string) (User, error) {
	name, group, _ := strings.Cut(text, ":")
	explicit := group != ""
	if name == "" {
		name = "0"
	}
	u, login, err := passwd(r, name)
	if err != nil {
		return User{}, err
	}
	if explicit {
		if u.GID, err = groupID(r, group); err != nil {
			return User{}, err
		}
	}
	u.Groups = []uint32{u.GID}
	if !explicit && login != "" {
		more, err := memberOf(r, login)
		if err != nil {
			return User{}, err
		}
		for _, g := range more {
			if !slices.Contains(u.Groups, g) {
				u.Groups = append(u.Groups, g)
			}
		}
	}
	return u, nil
}

// fields calls f with the fields of each line of an account file; a file that is not there is empty.
func fields(r fileReader, file string, f func([]string) bool) error {
	text, err := r.ReadFile(file, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unknown user error reading %s: %w", file, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if fs := strings.Split(strings.TrimSpace(lines.Text()), ":"); len(fs) >= 3 && f(fs) {
			break
		}
	}
	return lines.Err()
}

// number reads an id. The largest number is the kernel's "no id".
func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n < math.MaxUint32
}

func passwd(r fileReader, name string) (u User, login string, err error) {
	uid, numeric := number(name)
	u = User{UID: uid, Home: "/"}
	found := false
	err = fields(r, "/etc/passwd", func(f []string) bool {
		id, ok := number(f[2])
		if !ok || len(f) < 6 || f[0] != name && !(numeric && id == uid) {
			return false
		}
		u.UID, login, found = id, f[0], true
		u.GID, _ = number(f[3])
		u.Home = f[5]
		return true
	})
	if err == nil && !found && !numeric {
		if name == "root" {
			return User{Home: "/root"}, "root", nil
		}
		err = UnknownError(fmt.Sprintf("unknown user error looking up user %q: no matching entries in passwd file", name))
	}
	if u.Home == "" {
		u.Home = "/"
	}
	return u, login, err
}

func groupID(r fileReader, name string) (uint32, error) {
	if gid, ok := number(name); ok {
		return gid, nil
	}
	var gid uint32
	found := false
	err := fields(r, "/etc/group", func(f []string) bool {
		if f[0] != name {
			return false
		}
		gid, found = number(f[2])
		return found
	})
	if err == nil && !found {
		if name == "root" {
			return 0, nil
		}
		err = UnknownError(fmt.Sprintf("unknown group error looking up group %q: no matching entries in group file", name))
	}
	return gid, err
}

func memberOf(r fileReader, login string) (gids []uint32, err error) {
	err = fields(r, "/etc/group", func(f []string) bool {
		if len(f) > 3 && slices.Contains(strings.Split(f[3], ","), login) {
			if gid, ok := number(f[2]); ok {
				gids = append(gids, gid)
			}
		}
		return false
	})
	return gids, err
}
