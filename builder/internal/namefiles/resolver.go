package namefiles

import (
	"bufio"
	"fmt"
	"strings"
)

// A Resolver is the content of a resolv.conf.
type Resolver struct{ Servers, Search, Options []string }

// ParseResolver reads what we write of a resolv.conf, and leaves out the rest.
func ParseResolver(text string) (r Resolver) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search", "domain": // the last one counts
			r.Search = f[1:]
		case "options":
			r.Options = append(r.Options, f[1:]...)
		}
	}
	return r
}

// String is the text of the file.
func (r Resolver) String() string {
	var b strings.Builder
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.String()
}
