package config

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	base := func() *Image {
		return &Image{Config: Config{
			Env: []string{"A=1", "B=2"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}, User: "joe",
			Labels: map[string]string{"a": "1", "b": "2"}, ExposedPorts: map[string]struct{}{"1/tcp": {}},
		}}
	}
	for name, tt := range map[string]struct {
		over string
		want func(*Config)
	}{
		"nothing":  {`{}`, func(*Config) {}},
		"scalars":  {`{"WorkingDir":"/w","User":""}`, func(c *Config) { c.WorkingDir = "/w" }},
		"env":      {`{"Env":["B=3","C=4"]}`, func(c *Config) { c.Env = []string{"A=1", "B=3", "C=4"} }},
		"pair":     {`{"Cmd":["x"]}`, func(c *Config) { c.Entrypoint, c.Cmd = nil, []string{"x"} }},
		"labels":   {`{"Labels":{"b":"3","c":"4"}}`, func(c *Config) { c.Labels = map[string]string{"a": "1", "b": "3", "c": "4"} }},
		"ports":    {`{"ExposedPorts":{"2/udp":{}}}`, func(c *Config) { c.ExposedPorts = map[string]struct{}{"1/tcp": {}, "2/udp": {}} }},
		"triggers": {`{"OnBuild":["RUN x"]}`, func(c *Config) { c.OnBuild = []string{"RUN x"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := base(), base()
			tt.want(&want.Config)
			change, err := Merge([]byte(tt.over))
			if err != nil {
				t.Fatal(err)
			}
			if err := change(got); err != nil || !reflect.DeepEqual(got, want) {
				g, _ := json.Marshal(got)
				w, _ := json.Marshal(want)
				t.Errorf("%v\n%s\n%s", err, g, w)
			}
		})
	}
	for _, bad := range []string{"", "[]", `{"Env":["=x"]}`} {
		if _, err := Merge([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
