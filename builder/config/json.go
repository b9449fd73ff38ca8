package config

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/opencontainers/go-digest"
)

// OCI is the blob of an OCI image. Healthcheck, Shell, OnBuild and ArgsEscaped stay in it as further
// keys, as BuildKit writes them and runtimes honour them (dockerfile.md §19.10).
func (i *Image) OCI() ([]byte, error) {
	c := i.Clone()
	c.Comment, c.Container, c.ContainerConfig, c.DockerVersion, c.Parent = "", "", nil, "", ""
	c.Config.Hostname, c.Config.Domainname = "", ""
	return json.Marshal(c)
}

// Docker is the blob of a Docker image, with Docker's further keys.
func (i *Image) Docker() ([]byte, error) { return json.Marshal(i) }

// MarshalJSON writes the known keys in the order of the fields, then the unknown ones by name.
func (i Image) MarshalJSON() ([]byte, error) {
	type plain Image
	p := plain(i)
	if p.RootFS.Type == "" {
		p.RootFS.Type = "layers"
	}
	if p.RootFS.DiffIDs == nil {
		p.RootFS.DiffIDs = []digest.Digest{} // no layers are an empty array, not null
	}
	return withExtra(p, i.Extra)
}

// MarshalJSON is like that of Image.
func (c Config) MarshalJSON() ([]byte, error) {
	type plain Config
	return withExtra(plain(c), c.Extra)
}

// withExtra appends members to the JSON object of v.
func withExtra(v any, extra map[string]json.RawMessage) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil || len(extra) == 0 {
		return b, err
	}
	x, err := json.Marshal(extra) // sorted by key
	if err != nil {
		return nil, err
	}
	if len(b) == 2 {
		return x, nil
	}
	b[len(b)-1] = ','
	return append(b, x[1:]...), nil
}

// jsonNames lists the keys that the fields of a struct have in JSON.
func jsonNames(v any) []string {
	t := reflect.TypeOf(v)
	var names []string
	for n := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(n).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
