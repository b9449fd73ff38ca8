package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// The word behind "<<" reaches to the next blank: what `cat <<EOF; x` begins ends at "EOF;".
var opening = regexp.MustCompile(`<<(-?)[ \t]*([^\s<]+)`)

// endless says of a here-document that never ends which line is missing, and points at its beginning instead of all the rest of the file.
func (p *Plan) endless(err error) error {
	var le *parser.LocationError
	if !errors.As(err, &le) || !strings.HasSuffix(err.Error(), "unterminated heredoc") || len(le.Locations) == 0 || len(le.Locations[0]) == 0 {
		return p.located(err)
	}
	first := le.Locations[0][0]
	first.End = first.Start
	for _, m := range opening.FindAllStringSubmatch(p.lines[first.Start.Line-1], -1) {
		word := strings.NewReplacer(`"`, "", `'`, "").Replace(m[2])
		ends := func(line string) bool {
			line = strings.TrimRight(line, "\r\n")
			if m[1] != "" {
				line = strings.TrimLeft(line, "\t")
			}
			return line == word
		}
		if !slices.ContainsFunc(p.lines[first.Start.Line:], ends) {
			err = fmt.Errorf("%w: no line is just %q", err, word)
			break
		}
	}
	return p.At([]parser.Range{first}, err)
}
