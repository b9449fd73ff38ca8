package state

import (
	"encoding/json"

	"github.com/slipway-build/slipway/builder/config"
)

// View is what `inspect` shows of a container or an image, with the keys, order and Go names that
// scripts rely on (cli.md §10.6).
type View struct {
	Type                  string
	FromImage             string
	FromImageID           string
	FromImageDigest       string
	GroupAdd              []string
	Config                string
	Manifest              string
	Container             string
	ContainerID           string
	MountPoint            string
	ProcessLabel          string
	MountLabel            string
	ImageAnnotations      map[string]string
	ImageCreatedBy        string
	OCIv1                 Shape
	Docker                Shape
	DefaultMountsFilePath string
	Isolation             string
	NamespaceOptions      []Namespace
	Capabilities          []string
	ConfigureNetwork      string
	CNIPluginPath         string
	CNIConfigDir          string
	IDMappingOptions      *IDMapping
	History               []config.History
	Devices               []any
	DeviceSpecs           []string
	CDIConfigDir          string
}

// Shape is a configuration with the Go names that templates use.
type Shape struct{ *config.Image }

// MarshalJSON writes the configuration.
func (s Shape) MarshalJSON() ([]byte, error) { return json.Marshal(s.Image) }

// View returns what inspect shows of the container.
func (r *Record) View() (*View, error) {
	img, err := r.Image()
	if err != nil {
		return nil, err
	}
	v := ImageView(img)
	v.FromImage, v.FromImageID, v.FromImageDigest = r.FromImage, r.FromImageID, r.FromImageDigest
	v.GroupAdd, v.Config, v.Manifest = r.GroupAdd, string(r.Config), string(r.Manifest)
	v.Container, v.ContainerID, v.MountPoint = r.Container, r.ContainerID, r.MountPoint
	v.ProcessLabel, v.MountLabel, v.ImageCreatedBy = r.ProcessLabel, r.MountLabel, r.ImageCreatedBy
	v.DefaultMountsFilePath, v.NamespaceOptions, v.Capabilities = r.DefaultMountsFilePath, r.NamespaceOptions, r.Capabilities
	v.Isolation = [...]string{"default", "oci", "chroot", "rootless"}[r.Isolation&3]
	v.ConfigureNetwork = [...]string{"NetworkDefault", "NetworkDisabled", "NetworkEnabled"}[min(max(r.ConfigureNetwork, 0), 2)]
	v.IDMappingOptions, v.Devices, v.DeviceSpecs, v.CDIConfigDir = r.IDMappingOptions, r.Devices, r.DeviceSpecs, r.CDIConfigDir
	return v, nil
}

// ImageView returns what inspect shows of an image; the caller fills in names and blobs.
func ImageView(img *config.Image) *View {
	history := img.History
	if history == nil {
		history = []config.History{}
	}
	oci := img.Clone()
	oci.Comment, oci.ContainerConfig, oci.Config.Hostname, oci.Config.Domainname = "", nil, "", ""
	docker := img.Clone()
	if docker.ContainerConfig == nil {
		docker.ContainerConfig = &docker.Config
	}
	return &View{Type: marker, ImageAnnotations: img.Annotations, OCIv1: Shape{oci}, Docker: Shape{docker},
		History: history, Isolation: "default", ConfigureNetwork: "NetworkDefault", IDMappingOptions: &IDMapping{}}
}
