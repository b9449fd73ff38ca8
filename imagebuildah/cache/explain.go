package cache

import (
	"fmt"
	"reflect"
	"strings"
)

// Explain says why no result was found for want: the first field that differs from the most similar input there was, later
// ones first among equals.
func Explain(want Input, have []Input) string {
	best, least := -1, 0
	for n, in := range have {
		if in.Kind != want.Kind {
			continue
		}
		if d := len(differences(want, in)); best < 0 || d <= least {
			best, least = n, d
		}
	}
	if best < 0 {
		return "no " + want.Kind + " step has been built here"
	}
	if least == 0 {
		return "the same step was built, but its layer is gone"
	}
	first := differences(want, have[best])[0]
	if first == "Parent" {
		return "what it stands on is another"
	}
	from, to := text(have[best], first), text(want, first)
	return fmt.Sprintf("%s was %s, is %s", strings.ToLower(first), from, to)
}

// differences are the names of the fields that differ, in the order of the struct.
func differences(a, b Input) []string {
	var list []string
	for n := range reflect.TypeFor[Input]().NumField() {
		x, y := reflect.ValueOf(a).Field(n), reflect.ValueOf(b).Field(n)
		if fmt.Sprintf("%q", x.Interface()) != fmt.Sprintf("%q", y.Interface()) {
			list = append(list, reflect.TypeFor[Input]().Field(n).Name)
		}
	}
	return list
}

const longest = 200

func text(in Input, field string) string {
	s := fmt.Sprintf("%q", reflect.ValueOf(in).FieldByName(field).Interface())
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return s
}
