package builder

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/types"

	"github.com/slipway-build/slipway/internal/idmap"
	"github.com/slipway-build/slipway/internal/userns"
)

// Users is the user namespace of a container, or of the commands of a build (cli.md §8.2, §8.3).
type Users struct {
	// Namespace is as [ParseUsers] reads it; "" is the host's unless there are maps.
	Namespace string
	// UIDMap and GIDMap are "container:host:length". UIDMapUser and GIDMapGroup name whose subordinate ids are taken instead; one stands
	// for the other, and a uid map for the gid map.
	UIDMap, GIDMap          []string
	UIDMapUser, GIDMapGroup string
	// join is the path of the namespace that the maps are of, which SettleUsers has found; "" for none.
	join string
}

// ParseUsers reads a value of --userns: host, private (also container, or nothing), auto[:OPTION,...], keep-id[:OPTION,...], the path of a
// namespace, also written ns:PATH.
func ParseUsers(text string) (string, error) {
	switch name, options, _ := strings.Cut(text, ":"); {
	case text == "" || text == "private" || text == "container":
		return "private", nil
	case text == "host":
		return text, nil
	case name == "auto":
		_, err := autoUsers(options)
		return text, err
	case name == keepID:
		_, _, err := keptNumbers(options)
		return text, err
	case path.IsAbs(strings.TrimPrefix(text, "ns:")):
		return "ns:" + strings.TrimPrefix(text, "ns:"), nil
	}
	return "", fmt.Errorf("invalid user namespace %q: want host, private, auto[:size=N,uidmapping=MAP,gidmapping=MAP], keep-id[:uid=N,gid=N] or the path of a namespace", text)
}

// SettleUsers works out what u means for a build: it is valid, and has the store's default maps if it has none of its own.
func (s *Store) SettleUsers(u Users) (Users, error) {
	asked := u.Namespace
	u, err := s.usersOrDefault(u)
	if err != nil {
		return u, err
	}
	if asked == "" && strings.HasPrefix(u.Namespace, "auto") {
		s.o.Log.Warn(fmt.Sprintf("containers.conf: userns %q chooses ids for containers that stay: commands of this build have the host's", u.Namespace))
		u.Namespace = "host"
	}
	own, err := s.resolve(u)
	switch {
	case err != nil:
		return u, err
	case !own.private:
		return Users{Namespace: "host"}, nil
	case own.auto != nil:
		return u, errors.New("--userns=auto chooses ids for containers that stay, not for builds: give them with --userns-uid-map")
	}
	if _, err := own.mapping(s); err != nil || own.ids == nil {
		return Users{Namespace: "private"}, err
	}
	settled := Users{Namespace: "private", join: own.join}
	for _, r := range own.ids.UIDs {
		settled.UIDMap = append(settled.UIDMap, r.String())
	}
	for _, r := range own.ids.GIDs {
		settled.GIDMap = append(settled.GIDMap, r.String())
	}
	return settled, nil
}

// usersOrDefault is u, or what containers.conf says if u says nothing.
func (s *Store) usersOrDefault(u Users) (Users, error) {
	said := u.Namespace != "" || len(u.UIDMap)+len(u.GIDMap) > 0 || u.UIDMapUser+u.GIDMapGroup != ""
	conf, err := s.conf()
	if err != nil || said || s.ids != nil || conf.Containers.UserNamespace == "" {
		return u, err
	}
	if u.Namespace, err = ParseUsers(conf.Containers.UserNamespace); err != nil {
		return u, fmt.Errorf("containers.conf: userns: %w", err)
	}
	return u, nil
}

// users is the user namespace that is meant.
type users struct {
	private bool // one of the container's own
	auto    *types.AutoUserNsOptions
	ids     *idmap.IDs // nil for none
	join    string     // the path of the one that is joined instead, whose maps ids are
}

// resolve works out the maps; none of u's are the store's defaults.
func (s *Store) resolve(u Users) (users, error) {
	ids, err := u.maps()
	if err != nil {
		return users{}, err
	}
	name, options, _ := strings.Cut(u.Namespace, ":")
	switch {
	case u.Namespace == "host" && ids != nil:
		return users{}, errors.New("parsing ID mapping options: can not specify ID mappings while using host's user namespace")
	case u.Namespace == "host":
		return users{}, nil
	case ids != nil && name == "auto":
		return users{}, errors.New("parsing ID mapping options: --userns=auto chooses the id maps: leave them out, or name additional ones as auto:uidmapping=MAP,gidmapping=MAP")
	case ids != nil && (name == keepID || name == "ns"):
		return users{}, fmt.Errorf("parsing ID mapping options: --userns=%s has id maps of its own: leave them out", u.Namespace)
	case name == "auto":
		auto, err := autoUsers(options)
		return users{private: true, auto: auto}, err
	case name == keepID:
		ids, err := keptIDs(options)
		return users{private: true, ids: ids}, err
	case name == "ns":
		ids, err := idsOfNamespace(options)
		if ids != nil && err == nil {
			err = checkMaps(ids)
		}
		if ids == nil {
			return users{}, err // it is our own
		}
		return users{private: true, ids: ids, join: options}, err
	case ids == nil:
		ids = s.ids
	}
	return users{private: u.Namespace == "private" || ids != nil, ids: ids, join: u.join}, nil
}

// maps are those that were asked for, or nil.
func (u Users) maps() (*idmap.IDs, error) {
	byName := u.UIDMapUser != "" || u.GIDMapGroup != ""
	switch {
	case len(u.UIDMap)+len(u.GIDMap) == 0 && !byName:
		return nil, nil //nolint:nilnil // no maps are no error
	case len(u.UIDMap) == 0 && !byName:
		return nil, errors.New("option --userns-gid-map can not be used without --userns-uid-map")
	case len(u.UIDMap) > 0 && u.UIDMapUser != "":
		return nil, errors.New("--userns-uid-map and --userns-uid-map-user cannot be used together")
	case len(u.GIDMap) > 0 && u.GIDMapGroup != "":
		return nil, errors.New("--userns-gid-map and --userns-gid-map-group cannot be used together")
	}
	uids, gids := u.UIDMap, u.GIDMap
	if len(gids) == 0 && !byName {
		gids = uids
	}
	ids, err := parseIDMaps(uids, gids)
	if err != nil {
		return nil, err
	}
	if byName {
		user, group := first(u.UIDMapUser, u.GIDMapGroup), first(u.GIDMapGroup, u.UIDMapUser)
		sub, err := idtools.NewIDMappings(user, group)
		if err != nil {
			return nil, fmt.Errorf("parsing ID mapping options: %w", err)
		}
		if len(uids) == 0 {
			ids.UIDs = fromStorage(sub.UIDs())
		}
		if len(gids) == 0 {
			ids.GIDs = fromStorage(sub.GIDs())
		}
	}
	return ids, checkMaps(ids)
}

func parseIDMaps(uids, gids []string) (*idmap.IDs, error) {
	ids := &idmap.IDs{}
	for _, m := range []struct {
		flag  string
		texts []string
		to    *idmap.Map
	}{{"userns-uid-map", uids, &ids.UIDs}, {"userns-gid-map", gids, &ids.GIDs}} {
		for _, text := range m.texts {
			r, err := idmap.Parse(text)
			if err != nil {
				return nil, fmt.Errorf(`initializing ID mappings: %s setting is malformed expected ["uint32:uint32:uint32"]: %q`, m.flag, m.texts)
			}
			*m.to = append(*m.to, r)
		}
	}
	return ids, nil
}

// defaultIDs are the maps of containers that are given none: o's, else storage.conf's.
func (o *StoreOptions) defaultIDs(uids, gids []idtools.IDMap) (*idmap.IDs, error) {
	if len(o.UIDMap)+len(o.GIDMap) > 0 {
		return Users{UIDMap: o.UIDMap, GIDMap: o.GIDMap}.maps()
	}
	return idsOf(uids, gids), nil
}

// checkMaps refuses maps that the kernel would refuse when a command is run.
func checkMaps(ids *idmap.IDs) error {
	mine, err := ownIDs()
	if err != nil {
		return err
	}
	for _, m := range []struct {
		kind      string
		want, has idmap.Map
	}{{"user", ids.UIDs, mine.UIDs}, {"group", ids.GIDs, mine.GIDs}} {
		if err := m.want.Check(); err != nil {
			return fmt.Errorf("initializing ID mappings: %s ids: %w", m.kind, err)
		}
		if _, ok := m.want.Outside(0); !ok {
			return fmt.Errorf("initializing ID mappings: %s ids: there is no number for root: map 0", m.kind)
		}
		for _, r := range m.want {
			if !covered(m.has, r) {
				return fmt.Errorf("initializing ID mappings: %s ids: the range %s needs ids from %d to %d of this user namespace, which has %v (docs/rootless.md)",
					m.kind, r, r.Host, uint64(r.Host)+uint64(r.Size)-1, m.has)
			}
		}
	}
	return nil
}

// covered tells whether a user namespace that has those ids has all that r takes of it.
func covered(has idmap.Map, r idmap.Range) bool {
	for at, end := uint64(r.Host), uint64(r.Host)+uint64(r.Size); at < end; {
		found := false
		for _, h := range has {
			if at >= uint64(h.Container) && at < uint64(h.Container)+uint64(h.Size) {
				at, found = uint64(h.Container)+uint64(h.Size), true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// ownIDs are the ids that this process has, each mapped to itself: those of its user namespace.
func ownIDs() (*idmap.IDs, error) {
	ids, err := mapsOf("/proc/self")
	if err != nil {
		return nil, err
	}
	for _, m := range []idmap.Map{ids.UIDs, ids.GIDs} {
		for i := range m {
			m[i].Host = m[i].Container
		}
	}
	return ids, nil
}

// autoUsers reads the options of --userns=auto.
func autoUsers(options string) (*types.AutoUserNsOptions, error) {
	auto := &types.AutoUserNsOptions{}
	if options == "" {
		return auto, nil
	}
	for _, o := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "size":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("invalid --userns=auto: %q is no size", value)
			}
			auto.Size = uint32(n)
		case "uidmapping", "gidmapping":
			r, err := idmap.Parse(value)
			if err != nil {
				return nil, fmt.Errorf("invalid --userns=auto: %q is not container:host:length", value)
			}
			list := &auto.AdditionalUIDMappings
			if key == "gidmapping" {
				list = &auto.AdditionalGIDMappings
			}
			*list = append(*list, toStorage(idmap.Map{r})...)
		default:
			return nil, fmt.Errorf("invalid --userns=auto: unknown option %q: want size, uidmapping or gidmapping", key)
		}
	}
	return auto, nil
}

// mapping is what storage is told of a container's owners.
func (u users) mapping(s *Store) (types.IDMappingOptions, error) {
	switch {
	case userns.Current() == userns.None || oneID():
		if u.private {
			return types.IDMappingOptions{}, errors.New("a user namespace of the container's own needs more than the one id that there is here: see docs/rootless.md")
		}
		if userns.Current() == userns.None { // the layers' maps; else they were copied
			return types.IDMappingOptions{UIDMap: s.st.UIDMap(), GIDMap: s.st.GIDMap()}, nil
		}
		return types.IDMappingOptions{}, nil
	case u.auto != nil:
		return types.IDMappingOptions{AutoUserNs: true, AutoUserNsOpts: *u.auto}, nil
	case u.ids != nil:
		return types.IDMappingOptions{UIDMap: toStorage(u.ids.UIDs), GIDMap: toStorage(u.ids.GIDs)}, nil
	}
	return types.IDMappingOptions{HostUIDMapping: true, HostGIDMapping: true}, nil
}

// idsOf are a container's maps, nil for none, from those that storage keeps. Where there is one id they say something else:
// that it stands for root.
func idsOf(uids, gids []idtools.IDMap) *idmap.IDs {
	if len(uids)+len(gids) == 0 || userns.Current() == userns.None {
		return nil
	}
	return &idmap.IDs{UIDs: fromStorage(uids), GIDs: fromStorage(gids)}
}

func fromStorage(list []idtools.IDMap) (m idmap.Map) {
	for _, r := range list {
		m = append(m, idmap.Range{Container: uint32(r.ContainerID), Host: uint32(r.HostID), Size: uint32(r.Size)})
	}
	return m
}

func toStorage(m idmap.Map) (list []idtools.IDMap) {
	for _, r := range m {
		list = append(list, idtools.IDMap{ContainerID: int(r.Container), HostID: int(r.Host), Size: int(r.Size)})
	}
	return list
}
