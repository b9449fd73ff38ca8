package builder

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What a remote cache gives for a stage are results that stand on each other, the deepest and then the newest there are.
func TestChain(t *testing.T) {
	t.Parallel()
	// a1 and b1 are results of one step over the base, a2 and b2 of the next, each over its own; b3 is over b2.
	result := func(name, over string, day int) remoteStep {
		return remoteStep{Key: name[1:], Over: over, DiffID: digest.FromString(name), Made: time.Unix(int64(day)*86400, 0)}
	}
	a1, b1 := result("a1", "base", 1), result("b1", "base", 2)
	a2, b2 := result("a2", a1.layer(), 4), result("b2", b1.layer(), 3)
	b3 := result("b3", b2.layer(), 3)
	for name, c := range map[string]struct {
		has    []remoteStep
		local  []string // of the first steps
		oldest int
		want   string
	}{
		"whole":              {has: []remoteStep{a1, a2}, want: "a1 a2"},
		"deepest":            {has: []remoteStep{a1, a2, b1, b2, b3}, want: "b1 b2 b3"},
		"newest":             {has: []remoteStep{b1, b2, a1, a2}, want: "a1 a2"},
		"never mixed":        {has: []remoteStep{a1, b2, b3}, want: "a1"},
		"nothing below":      {has: []remoteStep{b2, b3}, want: ""},
		"over local":         {has: []remoteStep{b2, b3}, local: []string{b1.layer()}, want: "local b2 b3"},
		"over another local": {has: []remoteStep{b2, b3}, local: []string{a1.layer()}, want: ""},
		"in place of local":  {has: []remoteStep{b1, b2}, local: []string{a1.layer()}, want: "b1 b2"},
		"local as deep":      {has: []remoteStep{b1, b2}, local: []string{a1.layer(), a2.layer()}, want: ""},
		"other base":         {has: []remoteStep{result("c1", "elsewhere", 1)}, want: ""},
		"too old below":      {has: []remoteStep{a1, a2}, oldest: 2, want: ""},
		"older is deeper":    {has: []remoteStep{a1, b1, a2}, oldest: 2, want: "b1"},
	} {
		cache := &RemoteCache{steps: map[string][]remoteStep{}, held: map[string]remoteStep{}}
		for _, s := range c.has {
			cache.list(s)
			cache.list(s) // twice is once
		}
		names := map[string]string{"": "local"}
		for _, s := range []remoteStep{a1, b1, a2, b2, b3} {
			names[string(s.DiffID)] = map[bool]string{true: "a", false: "b"}[s.DiffID == a1.DiffID || s.DiffID == a2.DiffID] + s.Key
		}
		want := []WantedStep{{Key: "1"}, {Key: "2"}, {Key: "3"}}
		for i, id := range c.local {
			want[i].Layer = id
		}
		var got []string
		for _, r := range cache.Chain("base", want, time.Unix(int64(c.oldest)*86400, 0)) {
			got = append(got, names[string(r.step.DiffID)])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q instead of %q", name, got, c.want)
		}
	}
}

// A list that serves a chain of steps, whoever executed these, gets nothing more; one that does not gets all that the chain needs; and what
// was executed afresh replaces what there was.
func TestUnserved(t *testing.T) {
	t.Parallel()
	step := func(key, content, over string, fresh bool) RemoteStep {
		s := remoteStep{Over: over, DiffID: digest.FromString(content)}
		return RemoteStep{Key: key, Fresh: fresh, Layer: &Layer{ID: s.layer(), Parent: over, DiffID: s.DiffID}}
	}
	one := step("1", "one", "base", false)
	two := step("2", "two", one.Layer.ID, false)
	other := step("1", "other", "base", false)
	fresh := step("1", "new", "base", true)
	for name, c := range map[string]struct {
		has, give []RemoteStep
		want      string
	}{
		"new":                {nil, []RemoteStep{one, two}, "1 2"},
		"there":              {[]RemoteStep{one, two}, []RemoteStep{one, two}, ""},
		"more":               {[]RemoteStep{one}, []RemoteStep{one, two}, "2"},
		"another's":          {[]RemoteStep{one}, []RemoteStep{other}, ""},
		"over another's":     {[]RemoteStep{other}, []RemoteStep{one, two}, "1 2"},
		"fresh":              {[]RemoteStep{one}, []RemoteStep{fresh}, "1"},
		"fresh and alike":    {[]RemoteStep{one}, []RemoteStep{step("1", "one", "base", true)}, ""},
		"over what is fresh": {[]RemoteStep{one, two}, []RemoteStep{fresh, step("2", "above", fresh.Layer.ID, false)}, "1 2"},
		"damaged":            {[]RemoteStep{one, two}, []RemoteStep{{Key: "1", Layer: one.Layer, Damaged: true}, two}, "1 2"},
		"chains by itself":   {[]RemoteStep{one}, []RemoteStep{one, step("x", "x", "else", false)}, "x"},
	} {
		cache := &RemoteCache{steps: map[string][]remoteStep{}, held: map[string]remoteStep{}}
		for _, s := range c.has {
			cache.list(entry(s))
		}
		var got []string
		for _, s := range cache.unserved(c.give) {
			got = append(got, s.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q instead of %q", name, got, c.want)
		}
	}
}

// A list is whoever's who may write to the place: whatever it is, looking for steps in it ends, and gives a chain that stands on the base.
func FuzzCacheList(f *testing.F) {
	sum := digest.FromString("x")
	one := remoteStep{Key: "1", Over: "base", DiffID: sum, Blob: sum}
	two := remoteStep{Key: "2", Over: one.layer(), DiffID: sum, Blob: sum}
	own := remoteStep{Key: "3", Over: two.layer(), DiffID: "sha512:" + sum, Blob: sum}
	text, err := json.Marshal([]remoteStep{one, two, own, {Key: "mount:x", DiffID: sum, Blob: sum}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`[{"key":"1","over":"base"},null,{"made":"9999-12-31T23:59:59Z"}]`))
	f.Add([]byte(`{"key":"1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &RemoteCache{steps: map[string][]remoteStep{}, held: map[string]remoteStep{}}
		if err := c.parse(text); err != nil && !errors.Is(err, ErrCacheDamaged) {
			t.Error(err)
		}
		below := "base"
		for _, r := range c.Chain("base", []WantedStep{{Key: "1"}, {Key: "2"}, {Key: "3"}}, time.Time{}) {
			if r.step.Over != below {
				t.Errorf("%v does not stand on %s", r, below)
			}
			below = r.step.layer()
		}
		if _, list, err := c.bounded(); err != nil || len(list) > maxCacheSteps {
			t.Errorf("%d steps, %v", len(list), err)
		}
	})
}
