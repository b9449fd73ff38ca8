// Package config is the configuration of an image: everything it says of itself but its layers, as a superset of
// the OCI image config and Docker's, and the rules for editing it. The rules live here once: the config
// command, commit --change and Dockerfile instructions all use them.
//
// It is pure: it reads and writes values, no files, no store.
package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is the whole configuration blob. Annotations belong to the manifest and are carried along.
// Keys that are not known here are kept.
type Image struct {
	Created      *time.Time `json:"created,omitempty"`
	Author       string     `json:"author,omitempty"`
	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant,omitempty"`
	OS           string     `json:"os"`
	OSVersion    string     `json:"os.version,omitempty"`
	OSFeatures   []string   `json:"os.features,omitempty"`
	Config       Config     `json:"config"`
	RootFS       RootFS     `json:"rootfs"`
	History      []History  `json:"history,omitempty"`

	// Docker's own. Comment is kept in the docker format only.
	Comment         string  `json:"comment,omitempty"`
	Container       string  `json:"container,omitempty"`
	ContainerConfig *Config `json:"container_config,omitempty"`
	DockerVersion   string  `json:"docker_version,omitempty"`
	Parent          string  `json:"parent,omitempty"`

	Annotations map[string]string          `json:"-"`
	Extra       map[string]json.RawMessage `json:"-"`
}

// RootFS lists the layers by the digests of their uncompressed tars, lowest first.
type RootFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diff_ids"`
}

// History is one entry of an image's history.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Config is what a container started from the image gets.
type Config struct {
	Hostname     string              `json:"Hostname,omitempty"`
	Domainname   string              `json:"Domainname,omitempty"`
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitzero"` // empty is not absent
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"`
	OnBuild      []string            `json:"OnBuild,omitempty"`
	ArgsEscaped  bool                `json:"ArgsEscaped,omitempty"`

	Extra map[string]json.RawMessage `json:"-"`
}

// Healthcheck is Docker's. Times are in nanoseconds in JSON; zero inherits.
type Healthcheck struct {
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// DefaultPath is the PATH of a container whose image has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// New is the configuration of an empty image.
func New(os, arch, variant string) *Image {
	return &Image{OS: os, Architecture: arch, Variant: variant, Config: Config{WorkingDir: "/"}, RootFS: RootFS{Type: "layers"}}
}

// maxSize bounds the blobs that are parsed.
const maxSize = 4 << 20

// Parse reads a configuration blob, OCI's or Docker's.
func Parse(blob []byte) (*Image, error) {
	if len(blob) > maxSize {
		return nil, fmt.Errorf("larger than %d bytes", maxSize)
	}
	var img Image
	if err := json.Unmarshal(blob, &img); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	var err error
	if img.Extra, err = unknown(blob, img); err != nil {
		return nil, err
	}
	var raw struct {
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(blob, &raw); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	if len(raw.Config) > 0 && string(raw.Config) != "null" {
		if img.Config.Extra, err = unknown(raw.Config, img.Config); err != nil {
			return nil, err
		}
	}
	for _, d := range img.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("layer digest %q: %w", d, err)
		}
	}
	return &img, nil
}

// unknown returns the members of an object that v's type has no field for.
func unknown(blob []byte, v any) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(blob, &all); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	for _, name := range jsonNames(v) {
		delete(all, name)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// Clone returns a deep copy.
func (i *Image) Clone() *Image {
	c := *i
	if i.Created != nil {
		t := *i.Created
		c.Created = &t
	}
	c.OSFeatures = slices.Clone(i.OSFeatures)
	c.RootFS.DiffIDs = slices.Clone(i.RootFS.DiffIDs)
	c.History = slices.Clone(i.History)
	c.Annotations, c.Extra = maps.Clone(i.Annotations), maps.Clone(i.Extra)
	c.Config = i.Config.clone()
	if i.ContainerConfig != nil {
		cc := i.ContainerConfig.clone()
		c.ContainerConfig = &cc
	}
	return &c
}

func (c Config) clone() Config {
	c.ExposedPorts, c.Volumes, c.Labels, c.Extra = maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes), maps.Clone(c.Labels), maps.Clone(c.Extra)
	c.Env, c.Entrypoint, c.Cmd = slices.Clone(c.Env), slices.Clone(c.Entrypoint), slices.Clone(c.Cmd)
	c.Shell, c.OnBuild = slices.Clone(c.Shell), slices.Clone(c.OnBuild)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	return c
}

// Getenv looks up a variable of the configuration.
func (c *Config) Getenv(key string) (string, bool) {
	for _, kv := range c.Env {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			return kv[len(key)+1:], true
		}
	}
	return "", false
}
