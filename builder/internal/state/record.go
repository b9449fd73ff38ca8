// Package state is the record that is kept with each working container: the JSON file that the buildah
// family shares, so that every tool of it can list and use the others' containers (containers.md §3). It is
// read tolerantly, keys it does not know are kept, and it is replaced atomically. Who may write when is the
// caller's business.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/slipway-build/slipway/builder/config"
)

// File is the record's name in the container's directory; marker is what its type says.
const (
	File    = "buildah.json"
	marker  = "buildah 0.0.1"
	maxSize = 16 << 20
)

// Record is what is kept. Field order is that of `inspect`, key spelling that of the family.
type Record struct {
	Type                  string            `json:"type"`
	FromImage             string            `json:"image,omitempty"`
	FromImageID           string            `json:"image-id"`
	FromImageDigest       string            `json:"image-digest"`
	Config                []byte            `json:"config,omitempty"`
	Manifest              []byte            `json:"manifest,omitempty"`
	Container             string            `json:"container-name,omitempty"`
	ContainerID           string            `json:"container-id,omitempty"`
	MountPoint            string            `json:"mountpoint,omitempty"`
	ProcessLabel          string            `json:"process-label,omitempty"`
	MountLabel            string            `json:"mount-label,omitempty"`
	ImageAnnotations      map[string]string `json:"annotations,omitempty"`
	ImageCreatedBy        string            `json:"created-by,omitempty"`
	HistoryComment        string            `json:"history-comment,omitempty"`
	OCIv1                 json.RawMessage   `json:"ociv1,omitempty"`
	Docker                json.RawMessage   `json:"docker,omitempty"`
	DefaultMountsFilePath string            `json:"defaultMountsFilePath,omitempty"`
	Isolation             int
	NamespaceOptions      []Namespace
	ConfigureNetwork      int
	CNIPluginPath         string
	CNIConfigDir          string
	IDMappingOptions      *IDMapping
	Capabilities          []string
	GroupAdd              []string `json:",omitempty"`
	PrependedEmptyLayers  []config.History
	AppendedEmptyLayers   []config.History
	// The layers that go below and above the container's own; ours are above (COPY --link).
	PrependedLinkedLayers []LinkedLayer `json:",omitempty"`
	AppendedLinkedLayers  []LinkedLayer `json:",omitempty"`
	CommonBuildOpts       *BuildOpts    `json:",omitempty"`
	TopLayer              string        `json:",omitempty"`
	Format                string        `json:",omitempty"`
	Devices               []any         `json:",omitempty"`
	DeviceSpecs           []string      `json:",omitempty"`
	CDIConfigDir          string        `json:",omitempty"`
	// Made is ours: when the container's layer was ready.
	Made *Made `json:"slipway-made,omitempty"`

	extra map[string]json.RawMessage
}

// LinkedLayer is content that the next commit makes a layer of.
type LinkedLayer struct {
	History  config.History
	BlobPath string // a directory, or a file with a tar
}

// Namespace is one namespace choice; the names are the OCI runtime spec's.
type Namespace struct {
	Name string
	Host bool
	Path string
}

// IDMapping is the ID maps of the container's layer.
type IDMapping struct {
	HostUIDMapping, HostGIDMapping bool
	UIDMap, GIDMap                 []IDMap
	AutoUserNs                     bool
	AutoUserNsOpts                 json.RawMessage `json:",omitempty"`
}

// IDMap is one range.
type IDMap struct {
	ContainerID uint32 `json:"containerID"`
	HostID      uint32 `json:"hostID"`
	Size        uint32 `json:"size"`
}

// BuildOpts are run-time defaults.
type BuildOpts struct {
	AddHost                           []string
	CgroupParent                      string
	CPUPeriod                         uint64
	CPUQuota                          int64
	CPUShares                         uint64
	CPUSetCPUs, CPUSetMems            string
	HTTPProxy                         bool
	IdentityLabel                     int
	Memory, MemorySwap                int64
	LabelOpts                         []string
	ApparmorProfile                   string
	SeccompProfilePath                string
	NoNewPrivileges                   bool
	NoHosts, NoHostname               bool
	DNSServers, DNSSearch, DNSOptions []string
	ShmSize                           string
	Ulimit, Volumes                   []string
	OCIHooksDir                       []string `json:",omitempty"`
	// SecurityOpts are ours: the values of --security-opt as given.
	SecurityOpts []string `json:",omitempty"`
}

// New is the record of a fresh container.
func New() *Record {
	return &Record{Type: marker, CommonBuildOpts: &BuildOpts{HTTPProxy: true},
		IDMappingOptions: &IDMapping{HostUIDMapping: true, HostGIDMapping: true}}
}

// Load reads the record in a container's directory; the error is fs.ErrNotExist if there is none.
func Load(dir string) (*Record, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() > maxSize {
		return nil, errors.Join(err, fmt.Errorf("record is larger than %d bytes", maxSize))
	}
	blob, err := os.ReadFile(f.Name())
	if err != nil {
		return nil, err
	}
	return Parse(blob)
}

// Parse reads a record.
func Parse(blob []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(blob, r); err != nil {
		return nil, fmt.Errorf("parsing record: %w", err)
	}
	if r.Type != marker {
		return nil, fmt.Errorf("record is of type %q, not %q", r.Type, marker)
	}
	if err := json.Unmarshal(blob, &r.extra); err != nil {
		return nil, fmt.Errorf("parsing record: %w", err)
	}
	t := reflect.TypeFor[Record]()
	for n := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(n).Tag.Get("json"), ",")
		if name == "" {
			name = t.Field(n).Name
		}
		// The parser takes other spellings for known keys, so they must not be kept beside: the next reader would take the old one.
		maps.DeleteFunc(r.extra, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, name) })
	}
	return r, nil
}

// MarshalJSON writes the known keys, then the unknown ones.
func (r *Record) MarshalJSON() ([]byte, error) {
	type plain Record
	b, err := json.Marshal((*plain)(r))
	if err != nil || len(r.extra) == 0 {
		return b, err
	}
	x, err := json.Marshal(r.extra)
	if err != nil {
		return nil, err
	}
	b[len(b)-1] = ','
	return append(b, x[1:]...), nil
}

// Save replaces the record in dir; readers see the old one or the new one.
func (r *Record) Save(dir string) (err error) {
	blob, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+File+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(blob)
	err = errors.Join(err, f.Chmod(0o600), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, File))
}

// Image returns the configuration in the record. Docker's form knows the most.
func (r *Record) Image() (*config.Image, error) {
	blob := []byte(r.Docker)
	if len(blob) == 0 {
		blob = r.OCIv1
	}
	if len(blob) == 0 {
		return nil, fmt.Errorf("record has no configuration: %w", fs.ErrInvalid)
	}
	img, err := config.Parse(blob)
	if err != nil {
		return nil, err
	}
	if len(r.OCIv1) > 0 {
		oci, err := config.Parse(r.OCIv1)
		if err != nil {
			return nil, err
		}
		img.Variant, img.OSVersion, img.OSFeatures = oci.Variant, oci.OSVersion, oci.OSFeatures
	}
	img.Annotations = r.ImageAnnotations
	return img, nil
}

// SetImage puts a configuration into the record, in both forms.
func (r *Record) SetImage(img *config.Image) error {
	blob, err := json.Marshal(img)
	if err != nil {
		return err
	}
	r.OCIv1, r.Docker, r.ImageAnnotations = blob, blob, img.Annotations
	return nil
}

// The media types that say which format commits default to.
const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// SetFormat notes the preferred format, "oci" or "docker"; empty is oci.
func (r *Record) SetFormat(format string) {
	r.Format = ociManifest
	if format == "docker" {
		r.Format = dockerManifest
	}
}

// PreferredFormat is "oci" or "docker".
func (r *Record) PreferredFormat() string {
	if r.Format == dockerManifest {
		return "docker"
	}
	return "oci"
}

// OwnUsers tells whether the container's commands have a user namespace of their own.
func (r *Record) OwnUsers() bool {
	for _, n := range r.NamespaceOptions {
		if n.Name == "user" {
			return !n.Host && n.Path == ""
		}
	}
	return false
}

// JoinedUsers is the path of the user namespace that the container's commands join, "" for none.
func (r *Record) JoinedUsers() string {
	for _, n := range r.NamespaceOptions {
		if n.Name == "user" && !n.Host { // others of the family note a path, and have the host's
			return n.Path
		}
	}
	return ""
}

// SetIDMaps notes the ID maps of the container's layer.
func (r *Record) SetIDMaps(uids, gids []IDMap) {
	r.IDMappingOptions = &IDMapping{HostUIDMapping: len(uids) == 0, HostGIDMapping: len(gids) == 0, UIDMap: uids, GIDMap: gids}
}
