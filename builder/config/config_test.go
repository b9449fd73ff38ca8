package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
)

// Unknown keys survive, and what OCI does not know stays out of it.
func TestParseAndWrite(t *testing.T) {
	t.Parallel()
	const blob = `{"architecture":"amd64","os":"linux","comment":"c","moby.buildkit":"x","config":{"Env":["A=1"],"Hostname":"h","Shell":["/bin/bash"],
		"Healthcheck":{"Test":["CMD","x"],"Interval":5000000000},"Odd":7},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}]}`
	img, err := Parse([]byte(blob))
	if err != nil {
		t.Fatal(err)
	}
	oci, err := img.OCI()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Comment string          `json:"comment"`
		Kit     string          `json:"moby.buildkit"`
		RootFS  json.RawMessage `json:"rootfs"`
		Config  struct {
			Hostname string
			Shell    []string
			Odd      int
		} `json:"config"`
	}
	if err := json.Unmarshal(oci, &got); err != nil {
		t.Fatal(err)
	}
	if got.Comment != "" || got.Config.Hostname != "" || got.Kit != "x" || got.Config.Odd != 7 || len(got.Config.Shell) != 1 || string(got.RootFS) != `{"type":"layers","diff_ids":[]}` {
		t.Errorf("%s", oci)
	}
	docker, err := img.Docker()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(docker)
	if err != nil || !reflect.DeepEqual(again.Config, img.Config) || again.Comment != "c" {
		t.Errorf("%+v %v", again, err)
	}
}

func TestCloneIsDeep(t *testing.T) {
	t.Parallel()
	a := New("linux", "amd64", "")
	if err := Label("k", "v")(a); err != nil {
		t.Fatal(err)
	}
	b := a.Clone()
	for _, c := range []Change{Label("k", "w"), Env("A", "1"), Volume("/v"), Port("1"), OnBuild("RUN x")} {
		if err := c(b); err != nil {
			t.Fatal(err)
		}
	}
	if a.Config.Labels["k"] != "v" || len(a.Config.Env)+len(a.Config.Volumes)+len(a.Config.ExposedPorts)+len(a.Config.OnBuild) != 0 {
		t.Errorf("the original changed: %+v", a.Config)
	}
}

// The spellings of the config command (cli.md §9.4).
func TestEdits(t *testing.T) {
	t.Parallel()
	lookup := func(k string) (string, bool) { return "caller", k == "SET" }
	var unknown []string
	env := func(text string) Change {
		c, err := EditEnv(text, lookup, func(name string) { unknown = append(unknown, name) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	img := New("linux", "amd64", "")
	for _, c := range []Change{
		env("A=1"), env("B=$A/${A}/$NO/$"), env("SET"), env("GONE=x"), env("GONE-"), EditLabel("a=b"), EditLabel("c"), EditLabel("a-"),
		EditPort("80"), EditPort("90/udp"), EditPort("80-"), EditVolume("/v"), EditVolume("-"), Workdir("/a"), Workdir("b/../c"),
	} {
		if err := c(img); err != nil {
			t.Fatal(err)
		}
	}
	want := Config{Env: []string{"A=1", "B=1/1/NO/$", "SET=caller"}, Labels: map[string]string{"c": ""},
		ExposedPorts: map[string]struct{}{"90/udp": {}}, WorkingDir: "/a/c"}
	if !reflect.DeepEqual(img.Config, want) {
		t.Errorf("got  %+v\nwant %+v", img.Config, want)
	}
	if !slices.Equal(unknown, []string{"NO"}) {
		t.Errorf("unknown are said to be %q", unknown)
	}
	if _, err := EditEnv("UNSET", lookup, nil); err == nil {
		t.Error("a variable without a value was taken")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`["a","b c"]`: {"a", "b c"}, `sh -c "x y"`: {"sh", "-c", "x y"}, "  ": nil, "[a": {"[a"},
	} {
		got, err := Words(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
	if got := EntrypointWords("run me"); !reflect.DeepEqual(got, []string{"/bin/sh", "-c", "run me"}) {
		t.Error(got)
	}
	if _, err := HealthWords("NEVER x"); err == nil {
		t.Error("an unknown kind of check was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=1"]},"rootfs":{"diff_ids":["sha256:x"]}}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		img, err := Parse(blob)
		if err != nil {
			return
		}
		out, err := img.Clone().Docker()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
