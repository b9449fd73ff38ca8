package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/idmap"
	"github.com/slipway-build/slipway/internal/userns"
)

// User namespaces whose maps are those of somebody: of an ordinary user, or of a namespace that exists.

const keepID = "keep-id"

// keptIDs reads the options of --userns=keep-id and works out its maps: the caller has in the container the number that they have outside, or the one
// that is asked for; everybody else there is one of their subordinate ids.
func keptIDs(options string) (*idmap.IDs, error) {
	uid, gid, err := keptNumbers(options)
	if err != nil {
		return nil, err
	}
	if userns.Current() == userns.Root {
		return nil, errors.New("--userns=keep-id keeps the id of an ordinary user, and you are root: use host, or maps (--userns-uid-map)")
	}
	own, err := ownIDs()
	if err != nil {
		return nil, err
	}
	return &idmap.IDs{UIDs: kept(uid, own.UIDs), GIDs: kept(gid, own.GIDs)}, nil
}

func keptNumbers(options string) (uid, gid uint32, err error) {
	uid, gid = uint32(userns.Outside()), uint32(userns.OutsideGroup())
	if options == "" {
		return uid, gid, nil
	}
	for _, o := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		to := map[string]*uint32{"uid": &uid, "gid": &gid}[key]
		n, err := strconv.ParseUint(value, 10, 31)
		if to == nil || err != nil {
			return 0, 0, fmt.Errorf("invalid --userns=keep-id: %q: want uid=N or gid=N", o)
		}
		*to = uint32(n)
	}
	return uid, gid, nil
}

// kept maps id to root of this process's user namespace, which is the caller, and the numbers around it to the rest.
func kept(id uint32, own idmap.Map) idmap.Map {
	var rest uint32 // those from 1 on
	for _, r := range own {
		rest += r.Size
	}
	rest--
	below := min(id, rest)
	m := idmap.Map{{Container: id, Host: 0, Size: 1}}
	if below > 0 {
		m = append(m, idmap.Range{Container: 0, Host: 1, Size: below})
	}
	if rest > below {
		m = append(m, idmap.Range{Container: id + 1, Host: 1 + below, Size: rest - below})
	}
	return m
}

// idsOfNamespace are the maps of a user namespace that exists, nil for our own. They are read from a process that is in it.
func idsOfNamespace(name string) (*idmap.IDs, error) {
	f, err := openNamespace(name, specs.UserNamespace)
	if err != nil {
		return nil, fmt.Errorf("user namespace %s: %w", name, err)
	}
	defer f.Close()
	var want unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &want); err != nil {
		return nil, err
	}
	in := func(proc string) bool {
		var st unix.Stat_t
		return unix.Stat(proc+"/ns/user", &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino
	}
	if in("/proc/self") {
		return nil, nil //nolint:nilnil // no maps
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, proc := range processes {
		if !in(proc) {
			continue
		}
		ids, err := mapsOf(proc)
		if in(proc) { // it is the same process still
			return ids, err
		}
	}
	return nil, fmt.Errorf("user namespace %s: its id maps are read from a process that is in it, and there is none: give them with --userns-uid-map", name)
}

// joinedUsers is the path of the user namespace that is joined, "" for none. A Go program cannot enter one, as it has several threads.
func (c *commanded) joinedUsers() (string, error) {
	name := c.w.join
	if name == "" || c.ids == nil {
		return "", nil
	}
	if c.box.Isolation != IsolationOCI {
		return "", fmt.Errorf("user namespace %s: joining it needs an OCI runtime: install crun or runc and use --isolation=oci, or give its ids with --userns-uid-map instead", name)
	}
	ids, err := idsOfNamespace(name)
	if err == nil && (ids == nil || !slices.Equal(ids.UIDs, c.ids.UIDs) || !slices.Equal(ids.GIDs, c.ids.GIDs)) {
		err = fmt.Errorf("user namespace %s: it has not the ids that it had when the container was made, and that the container's files have: make another container", name)
	}
	return name, err
}

// mapsOf are the maps of a process's user namespace, as seen from ours.
func mapsOf(proc string) (*idmap.IDs, error) {
	ids := &idmap.IDs{}
	for file, m := range map[string]*idmap.Map{"/uid_map": &ids.UIDs, "/gid_map": &ids.GIDs} {
		text, err := os.ReadFile(proc + file)
		if err != nil {
			return nil, fmt.Errorf("reading id maps: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			r, err := idmap.Parse(strings.Join(strings.Fields(line), ":"))
			if err != nil {
				return nil, fmt.Errorf("reading id maps: %s%s: %q: %w", proc, file, line, err)
			}
			*m = append(*m, r)
		}
	}
	return ids, nil
}
