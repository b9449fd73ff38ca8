package userns

import (
	"reflect"
	"strings"
	"testing"
)

func TestSubids(t *testing.T) {
	t.Parallel()
	const text = "joe:100000:65536\n1000:200000:10\nann:300000:5\njoe:bad:1\njoe:1:\n:5:5\njoe:4294967290:100\n"
	got := subids(strings.NewReader(text), "joe", 1000)
	if want := []idRange{{100000, 65536}, {200000, 10}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := subids(strings.NewReader(text), "", 7); got != nil {
		t.Errorf("a user without a name got %v", got)
	}
}

func TestUserName(t *testing.T) {
	t.Parallel()
	const text = "root:x:0:0::/:\njoe:x:1000:1000::/:\n"
	if got := userName(strings.NewReader(text), 1000); got != "joe" {
		t.Error(got)
	}
	if got := userName(strings.NewReader(text), 5); got != "" {
		t.Error(got)
	}
}

func FuzzSubids(f *testing.F) {
	f.Add("joe:1:2\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range subids(strings.NewReader(text), "joe", 1000) {
			if r.start <= 0 || r.size <= 0 || r.start+r.size > 1<<32-1 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
