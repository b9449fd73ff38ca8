package cache

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Text is the instruction that a note is of, as far as the note has it; empty for what is no note.
func Text(note []byte) string {
	var in Input
	if json.Unmarshal(note, &in) != nil {
		return ""
	}
	if len(in.Args) == 0 {
		return strings.TrimSpace(in.Kind + " " + in.Dir) // WORKDIR
	}
	return in.Kind + " " + strings.Join(in.Args, " ")
}

// Explain says why no result was found for want: the first field that differs from the most similar input there was, later
// ones first among equals. path, which may be nil, says in which path the nth content of two inputs differs, if that is known.
func Explain(want Input, have []Input, path func(was, is Input, n int) string) string {
	best, least := -1, 0
	for n, in := range have {
		if in.Kind != want.Kind {
			continue
		}
		if d := distance(want, in); best < 0 || d <= least {
			best, least = n, d
		}
	}
	if best < 0 {
		return "no " + want.Kind + " step has been built here"
	}
	fields := differences(want, have[best])
	if len(fields) == 0 {
		return "the same step was built, but its layer is gone"
	}
	if fields[0] == "Parent" {
		if slices.Contains(fields, "Args") { // that one has nothing to do with it
			return "it has not been built here"
		}
		return "what it stands on is another"
	}
	if fields[0] == "Content" && path != nil {
		if text := otherContent(want, have[best], path); text != "" {
			return "content: " + text
		}
	}
	from, to := values(have[best], want, fields[0])
	return fmt.Sprintf("%s was %s, is %s", strings.ToLower(fields[0]), from, to)
}

// otherContent names the first path in which content differs.
func otherContent(want, was Input, path func(was, is Input, n int) string) string {
	for n := range min(len(want.Content), len(was.Content)) {
		if want.Content[n] != was.Content[n] {
			return path(was, want, n)
		}
	}
	return ""
}

// distance is how unlike two inputs are: by what number of fields, and among equals of those by what number of elements.
func distance(a, b Input) int {
	d := 0
	for _, field := range differences(a, b) {
		d += 1000
		if x, y := lists(a, b, field); x != nil || y != nil {
			d += min(len(without(x, y))+len(without(y, x)), 999)
		}
	}
	return d
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

// lists are the values of a field that has a list, else nil.
func lists(a, b Input, field string) (x, y []string) {
	x, _ = reflect.ValueOf(a).FieldByName(field).Interface().([]string)
	y, _ = reflect.ValueOf(b).FieldByName(field).Interface().([]string)
	return x, y
}

// without is what of a is not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

const longest = 200

// values are those of a field in a and b: of lists only the elements that the other lacks, unless only their order is another.
func values(a, b Input, field string) (from, to string) {
	x, y := lists(a, b, field)
	if one, other := without(x, y), without(y, x); len(one)+len(other) > 0 {
		return apart(fmt.Sprintf("%q", one), fmt.Sprintf("%q", other))
	}
	return apart(fmt.Sprintf("%q", reflect.ValueOf(a).FieldByName(field)), fmt.Sprintf("%q", reflect.ValueOf(b).FieldByName(field)))
}

// apart shortens texts to where they differ, with a little of what they begin with alike.
func apart(a, b string) (string, string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := 0
	if max(len(a), len(b)) > longest {
		from = max(0, same-longest/4)
	}
	return part(a, from), part(b, from)
}

func part(s string, from int) string {
	begin, end := "", ""
	if from > 0 {
		begin = "…"
	}
	if s = s[from:]; len(s) > longest {
		s, end = s[:longest], "…"
	}
	return begin + strings.ToValidUTF8(s, "") + end
}
