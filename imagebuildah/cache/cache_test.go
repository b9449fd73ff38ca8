package cache

import (
	"reflect"
	"testing"
)

// Every field counts: a change of any one gives another key.
func TestKey(t *testing.T) {
	t.Parallel()
	base := Input{Args: []string{"a", "b"}, Env: []string{"A=1"}}
	seen := map[string]string{base.Key(): "the original"}
	if again := (&Input{Args: []string{"a", "b"}, Env: []string{"A=1"}}).Key(); seen[again] == "" {
		t.Error("the same input has another key")
	}
	for n := range reflect.TypeFor[Input]().NumField() {
		in := base
		v := reflect.ValueOf(&in).Elem().Field(n)
		if v.Kind() == reflect.String {
			v.SetString("changed")
		} else {
			v.Set(reflect.ValueOf([]string{"ab"}))
		}
		name := reflect.TypeFor[Input]().Field(n).Name
		if other, ok := seen[in.Key()]; ok {
			t.Errorf("a change of %s has the key of %s", name, other)
		}
		seen[in.Key()] = name
	}
}
