package layer

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

const blockSize = 512

// Types of tar entries.
const (
	typeFile    = '0'
	typeLink    = '1'
	typeSymlink = '2'
	typeChar    = '3'
	typeBlock   = '4'
	typeDir     = '5'
	typeFifo    = '6'
	typePAX     = 'x'
)

// A header is what a tar says of one entry: numeric owners, whole seconds, no names of users, no other
// times (containers.md §11.2).
type header struct {
	name         string // without slashes at the ends; "." is the root
	kind         byte
	mode         uint32 // 07777
	uid, gid     uint32
	size         int64
	mtime        int64 // seconds since 1970
	link         string
	major, minor uint32
	xattrs       []xattr // sorted by name
}

type xattr struct {
	name  string
	value []byte
}

// tarName is the name as it stands in the archive.
func (h *header) tarName() string {
	if h.kind == typeDir {
		return h.name + "/"
	}
	return h.name
}

// append encodes the header: plain ustar where that can say it all, else with PAX records before it, the
// very bytes that archive/tar would write. So equal entries are equal bytes, whoever looks.
func (h *header) append(b []byte) ([]byte, error) {
	name := h.tarName()
	records, err := h.records(name)
	if err != nil {
		return b, err
	}
	prefix := ""
	switch p, n, ok := splitName(name); {
	case len(records) == 0:
	case ok && len(records) == 1 && records[0].key == "path":
		prefix, name = p, n
	default:
		data := encodeRecords(records)
		b = (&header{kind: typePAX, size: int64(len(data))}).appendBlock(b, paxName(name), "")
		b = append(b, data...)
		b = append(b, make([]byte, padding(int64(len(data))))...)
	}
	return h.appendBlock(b, name, prefix), nil
}

// padding is how many zero bytes follow content of that size.
func padding(size int64) int64 { return -size & (blockSize - 1) }

type record struct{ key, value string }

// records returns what does not fit into the plain header, sorted by key.
func (h *header) records(name string) ([]record, error) {
	var r []record
	for _, x := range h.xattrs {
		if strings.Contains(x.name, "=") {
			return nil, fmt.Errorf("%s: a layer cannot hold the extended attribute %q", h.name, x.name)
		}
		r = append(r, record{"SCHILY.xattr." + x.name, string(x.value)})
	}
	number := func(key string, v, most int64) {
		if v < 0 || v > most {
			r = append(r, record{key, strconv.FormatInt(v, 10)})
		}
	}
	number("gid", int64(h.gid), 1<<21-1)
	if len(h.link) > 100 || !ascii(h.link) {
		r = append(r, record{"linkpath", h.link})
	}
	number("mtime", h.mtime, 1<<33-1)
	if len(name) > 100 || !ascii(name) {
		r = append(r, record{"path", name})
	}
	number("size", h.size, 1<<33-1)
	number("uid", int64(h.uid), 1<<21-1)
	slices.SortFunc(r, func(a, b record) int { return strings.Compare(a.key, b.key) })
	return r, nil
}

func encodeRecords(records []record) []byte {
	var b []byte
	for _, r := range records {
		// The length counts its own digits.
		rest := len(r.key) + len(r.value) + 3
		n := rest + len(strconv.Itoa(rest))
		n = rest + len(strconv.Itoa(n))
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
		b = append(append(append(append(b, r.key...), '='), r.value...), '\n')
	}
	return b
}

// paxName is the name that programs which do not know PAX would give to the records.
func paxName(name string) string {
	dir, file := path.Split(name)
	return strings.TrimRight(fit(path.Join(dir, "PaxHeaders.0", file)), "/")
}

// appendBlock encodes the plain part; numbers that do not fit are zero.
func (h *header) appendBlock(b []byte, name, prefix string) []byte {
	start := len(b)
	b = append(b, make([]byte, blockSize)...)
	k := b[start:]
	copy(k, fit(name))
	octal(k[100:108], int64(h.mode))
	octal(k[108:116], int64(h.uid))
	octal(k[116:124], int64(h.gid))
	octal(k[124:136], h.size)
	octal(k[136:148], h.mtime)
	k[156] = h.kind
	copy(k[157:257], fit(h.link))
	copy(k[257:265], "ustar\x0000")
	if h.kind != typePAX {
		octal(k[329:337], int64(h.major))
		octal(k[337:345], int64(h.minor))
	}
	copy(k[345:500], prefix)
	copy(k[148:156], "        ")
	sum := int64(0)
	for _, c := range k {
		sum += int64(c)
	}
	octal(k[148:155], sum)
	return b
}

// octal fills a field with zero-padded digits and a NUL.
func octal(field []byte, v int64) {
	last := len(field) - 1
	if v < 0 || v >= 1<<(3*last) {
		v = 0
	}
	field[last] = 0
	for i := last - 1; i >= 0; i-- {
		field[i] = '0' + byte(v&7)
		v >>= 3
	}
}

// splitName cuts a name that is too long for one field at a slash into the two that ustar has for it.
func splitName(name string) (prefix, rest string, ok bool) {
	if len(name) <= 100 || !ascii(name) {
		return "", "", false
	}
	n := len(name)
	if n > 156 {
		n = 156
	} else if name[n-1] == '/' {
		n--
	}
	i := strings.LastIndexByte(name[:n], '/')
	if i <= 0 || len(name)-i-1 > 100 || len(name)-i-1 == 0 || i > 155 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// fit makes a name that has a PAX record, and the field of a program that ignores that, fit.
func fit(s string) string {
	if !ascii(s) {
		s = strings.Map(func(r rune) rune {
			if r < 0x80 {
				return r
			}
			return -1
		}, s)
	}
	if len(s) > 100 && s[99] == '/' {
		return strings.TrimRight(s[:100], "/")
	}
	return s[:min(len(s), 100)]
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
