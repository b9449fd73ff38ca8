// Package mounts reads the values of --mount and --volume, of commands and of RUN, into one type. It is
// pure: nothing is opened or looked up; package builder does that when a command is about to run.
package mounts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// Mount is one mount that a command asked for (cli.md §8.14, dockerfile.md §5.5).
type Mount struct {
	// Type is bind, cache, tmpfs, secret or ssh.
	Type string
	// Source is a path: of the host, in the context or in what From names; for a cache a directory in it.
	Source, Target, From string
	// ID names a cache, a secret or an agent; Env is the variable that a secret is put into.
	ID, Env string
	// ReadOnly is meant for bind, cache and tmpfs; Required for secret and ssh.
	ReadOnly, Required bool
	// Sharing of a cache is shared, private or locked.
	Sharing string
	// Mode, UID and GID are those of a new cache, of a secret's file or of an agent's socket.
	Mode *uint32
	UID  uint32
	GID  uint32
	// Size is a tmpfs's limit in bytes, 0 for none.
	Size int64
	// Options are words for the kernel: nosuid, nodev, noexec, a propagation.
	Options []string
	// IDMap is what "idmap=" says of a volume's owners (see [Owners]); with the word alone it is empty.
	IDMap string
	// Extra holds the words that are not the kernel's: U, z, Z, O, idmap, bind-nonrecursive, no-dereference, tmpcopyup.
	Extra []string
	// Upper and Work are the directories of a volume that is an overlay (O); empty ones are thrown away.
	Upper, Work string
	// Host says that Source is a path of the host however the command takes other sources: a volume.
	Host bool
}

// String is all that is set of a mount in one line: two that differ have different ones.
func (m Mount) String() string {
	var list []string
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			continue
		}
		text := fmt.Sprintf("%v", f)
		switch {
		case f.Kind() == reflect.Pointer:
			text = fmt.Sprintf("%#o", f.Elem().Uint()) // Mode
		case f.Kind() == reflect.Slice, strings.ContainsAny(text, "\"\\, =[]") || !utf8.ValidString(text):
			text = fmt.Sprintf("%q", f)
		}
		list = append(list, strings.ToLower(v.Type().Field(i).Name)+"="+text)
	}
	return strings.Join(list, ",")
}

// Has tells whether an extra word was given.
func (m Mount) Has(word string) bool { return slices.Contains(m.Extra, word) }

// Recursive tells whether what is mounted below the source is mounted too.
func (m Mount) Recursive() bool {
	return !m.Has("bind-nonrecursive") && !slices.Contains(m.Options, "bind")
}

// Parse reads one value of --mount: fields as in a line of CSV. expand, which may be nil, replaces the variables in values.
func Parse(text string, expand func(string) (string, error)) (Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return Mount{}, fmt.Errorf("failed to parse csv mounts: %w", err)
	}
	p := parser{m: Mount{Type: "bind"}, given: map[string]string{}}
	for _, f := range fields {
		if err := p.field(f, expand); err != nil {
			return p.m, err
		}
	}
	return p.m, p.check()
}

type parser struct {
	m     Mount
	given map[string]string // keys with the field they came in
	rw    *bool
}

// words are the keys that have no value, with the family of which one may be given.
func families() map[string]string {
	return map[string]string{
		"exec": "exec", "noexec": "exec", "suid": "suid", "nosuid": "suid", "dev": "dev", "nodev": "dev",
		"private": "propagation", "rprivate": "propagation", "slave": "propagation", "rslave": "propagation",
		"shared": "propagation", "rshared": "propagation",
		"z": "label", "Z": "label", "U": "owner", "bind-nonrecursive": "recursion", "no-dereference": "links", "tmpcopyup": "copyup",
	}
}

func (p *parser) word(w string) error {
	family, ok := families()[w]
	if !ok {
		return fmt.Errorf("invalid field '%s' must be a key=value pair", w)
	}
	if p.given[family] != "" {
		return fmt.Errorf("more than one option about %s", family)
	}
	p.given[family] = w
	switch family {
	case "label", "owner", "recursion", "links", "copyup":
		p.m.Extra = append(p.m.Extra, w)
	default:
		p.m.Options = append(p.m.Options, w)
	}
	return nil
}

func (p *parser) field(f string, expand func(string) (string, error)) error {
	name, value, valued := strings.Cut(f, "=")
	key := strings.ToLower(name)
	if !valued {
		switch key {
		case "ro", "readonly", "rw", "readwrite", "required":
			value = "true"
		default:
			return p.word(name)
		}
	}
	if expand != nil && valued {
		var err error
		if value, err = expand(value); err != nil {
			return err
		}
	}
	p.given[key] = f
	return p.set(key, value, f)
}

func (p *parser) set(key, value, f string) (err error) {
	m := &p.m
	switch key {
	case "type":
		if !slices.Contains([]string{"bind", "cache", "tmpfs", "secret", "ssh"}, value) {
			return fmt.Errorf("unsupported mount type %q", value)
		}
		m.Type = value
	case "from":
		if m.From = value; value == "" {
			return errors.New("unable to resolve argument for `from=`: from points to an empty value")
		}
	case "source", "src":
		m.Source = value
	case "target", "dst", "destination":
		m.Target = value
	case "ro", "readonly":
		return p.access(key, value, true)
	case "rw", "readwrite":
		return p.access(key, value, false)
	case "required":
		m.Required, err = boolean(key, value)
	case "size", "tmpfs-size":
		if m.Size, err = units.RAMInBytes(value); err != nil || m.Size < 0 { // what is too large comes out negative
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
	case "id":
		m.ID = value
	case "sharing":
		if m.Sharing = value; !slices.Contains([]string{"shared", "private", "locked"}, value) {
			return fmt.Errorf("unsupported sharing value %q", value)
		}
	case "mode", "tmpfs-mode":
		n, perr := strconv.ParseUint(value, 8, 12)
		if perr != nil {
			return fmt.Errorf("invalid value %s for mode", value)
		}
		mode := uint32(n)
		m.Mode = &mode
	case "uid", "gid":
		n, perr := strconv.ParseUint(value, 10, 31)
		if perr != nil {
			return fmt.Errorf("invalid value %s for %s", value, key)
		}
		if key == "uid" {
			m.UID = uint32(n)
		} else {
			m.GID = uint32(n)
		}
	case "env":
		m.Env = value
	default:
		return p.familyKey(key, value, f)
	}
	return err
}

// familyKey reads the keys that only the buildah family has.
func (p *parser) familyKey(key, value, f string) error {
	switch key {
	case "bind-propagation":
		if families()[value] != "propagation" {
			return fmt.Errorf("invalid mount option %q", f)
		}
		return p.word(value)
	case "relabel":
		switch value {
		case "shared":
			return p.word("z")
		case "private":
			return p.word("Z")
		}
		return fmt.Errorf("invalid mount option %q: relabel is shared or private", f)
	case "consistency":
		return nil // for hosts that are not this one
	}
	return fmt.Errorf("unexpected key '%s' in '%s'", key, f)
}

func boolean(key, value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("invalid value for %s: %s", key, value)
	}
	return b, nil
}

// access notes ro or rw.
func (p *parser) access(key, value string, readOnly bool) error {
	b, err := boolean(key, value)
	rw := b != readOnly
	p.rw = &rw
	return err
}

// allowed says which types a key is for.
func allowed() map[string][]string {
	return map[string][]string{
		"required": {"secret", "ssh"}, "size": {"tmpfs"}, "tmpfs-size": {"tmpfs"}, "tmpfs-mode": {"tmpfs"}, "env": {"secret"},
		"exec": {"bind", "cache", "tmpfs"}, "suid": {"bind", "cache", "tmpfs"}, "dev": {"bind", "cache", "tmpfs"},
		"propagation": {"bind", "cache"}, "label": {"bind", "cache"}, "owner": {"bind", "cache"}, "recursion": {"bind"},
		"links": {"bind"}, "copyup": {"tmpfs"},
	}
}

// check judges the options together, once the type is known.
func (p *parser) check() error {
	m := &p.m
	for _, key := range []string{"required", "size", "tmpfs-size", "tmpfs-mode", "env", "exec", "suid", "dev", "propagation", "label", "owner", "recursion", "links", "copyup"} {
		if f := p.given[key]; f != "" && !slices.Contains(allowed()[key], m.Type) {
			name, _, _ := strings.Cut(f, "=")
			return fmt.Errorf("unexpected key '%s' for mount type '%s'", name, m.Type)
		}
	}
	for _, key := range []string{"mode", "uid", "gid"} {
		if p.given[key] != "" && (m.Type == "bind" || m.Type == "tmpfs") {
			return fmt.Errorf("%s not allowed for %q type mounts", key, m.Type)
		}
	}
	if m.Sharing != "" && m.Type != "cache" && m.Type != "secret" {
		return fmt.Errorf("invalid cache sharing set for %s mount", m.Type)
	}
	if path.IsAbs(m.Target) && path.Clean(m.Target) == "/" {
		return errRoot
	}
	if p.rw != nil {
		m.ReadOnly = !*p.rw
	} else {
		m.ReadOnly = m.Type == "bind"
	}
	switch m.Type {
	case "cache":
		if m.Sharing == "" {
			m.Sharing = "shared"
		}
	case "secret":
		return m.secret()
	case "ssh":
		return m.agent()
	case "tmpfs":
		if m.Source != "" && m.Source != "tmpfs" {
			return errors.New("a tmpfs has no source")
		}
	}
	return nil
}

func (m *Mount) secret() error {
	switch {
	case m.From != "":
		return errors.New("secret mount should not have a from")
	case m.Sharing != "":
		return errors.New("secret mount should not define sharing")
	case m.Source != "" && m.ID != "":
		return errors.New("both source and id can't be set")
	case m.Source == "" && m.Target == "" && m.ID == "":
		return errors.New("invalid secret mount. one of source, target required")
	}
	if m.ID == "" {
		m.ID = first(m.Source, path.Base(m.Target))
	}
	if m.Target == "" && m.Env == "" {
		m.Target = path.Join("/run/secrets", path.Base(m.ID))
	}
	return nil
}

func (m *Mount) agent() error {
	if m.Source != "" {
		return errors.New("ssh does not support source")
	}
	if m.From != "" {
		return errors.New("ssh mount should not have a from")
	}
	m.ID = first(m.ID, "default")
	return nil
}

var errRoot = errors.New(`invalid mount target "/"`)

// At returns the mount with its target made absolute: a relative one is below dir, and none is dir itself. nth counts the
// agents among the mounts of a command.
func (m Mount) At(dir string, nth int) (Mount, error) {
	if m.Type == "ssh" && m.Target == "" {
		m.Target = "/run/buildkit/ssh_agent." + strconv.Itoa(nth)
	}
	if m.Type == "secret" && m.Target == "" {
		return m, nil // in the environment only
	}
	if !path.IsAbs(m.Target) {
		m.Target = path.Join("/", dir, m.Target)
	}
	if m.Target = path.Clean(m.Target); m.Target == "/" {
		return m, errRoot
	}
	if m.Type == "cache" {
		m.ID = first(m.ID, m.Target)
	}
	return m, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
