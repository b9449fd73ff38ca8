package builder

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// StoreOptions says which storage to open and how to talk about it. The zero value opens the storage
// that every tool of the family uses by default: storage.conf is honoured when there is one, and none
// is needed (cli.md §7).
type StoreOptions struct {
	// Root and RunRoot are directories; empty means storage.conf's, else the built-in default.
	Root, RunRoot string
	// ImageStore is a second directory for image layers; containers stay in Root.
	ImageStore string
	// Driver names the storage driver (overlay, vfs). Giving it discards DriverOptions of storage.conf.
	Driver string
	// DriverOptions are passed to the driver, e.g. "overlay.mountopt=nodev".
	DriverOptions []string
	// Ownership says what becomes of owners that cannot be set, where there is one id only: record (the default), ignore, fail.
	Ownership string
	// TransientStore keeps container records in RunRoot.
	TransientStore bool
	// RegistriesConf, RegistriesConfDir and ShortNameAliases replace the files of those purposes.
	RegistriesConf, RegistriesConfDir, ShortNameAliases string
	// UIDMap and GIDMap ("container:host:length") are the default ID maps of new containers.
	UIDMap, GIDMap []string
	// CgroupManager is who makes cgroups, cgroupfs (the default) or systemd; the built-in runner makes its own, and refuses systemd.
	CgroupManager string
	// MountsFile replaces the files mounts.conf of the host, also for later runs in new containers.
	MountsFile string
	// Log receives what the user should know though it worked (Warn) and why things are done (Debug). Nil is silent.
	Log *slog.Logger
	// Now is the clock; nil is time.Now. Tests and reproducible callers set it.
	Now func() time.Time
	// Environ looks up a variable of the caller (proxies, SSH agent); nil means that there are none.
	Environ func(string) (string, bool)
	// TempDir holds large temporary files; empty means TMPDIR, /var/tmp or a directory in Root, whichever can be written first.
	TempDir string
}

// Registry says how to reach and trust registries (cli.md §8.1).
type Registry struct {
	AuthFile, CertDir string
	// Creds is "user:password".
	Creds string
	// TLSVerify nil follows registries.conf; false also allows plain HTTP; true overrides "insecure".
	TLSVerify *bool
	// PolicyFile replaces policy.json.
	PolicyFile string
	// Retries is the number of further attempts after a network failure, or RetriesDefault; RetryDelay is the time between them,
	// containers.conf's when 0, doubling if that has none.
	Retries    int
	RetryDelay time.Duration
	// DecryptionKeys are private keys, FILE[:PASSPHRASE], for layers that are encrypted.
	DecryptionKeys []string
	// BlobCache is a directory that keeps the blobs of images that are pulled, and gives them to later pulls and pushes; empty for none.
	BlobCache string
	// RemoveSignatures drops signatures instead of copying them.
	RemoveSignatures bool
}

// A PullPolicy says when the registry is asked (cli.md §8.9).
type PullPolicy int

// The pull policies.
const (
	PullMissing PullPolicy = iota // local first, else pull
	PullAlways                    // ask the registry, fail if it has none
	PullNewer                     // ask, and tolerate a failure if there is a local image
	PullNever                     // local only
)

// Platform is os/arch[/variant]; empty parts mean the host's.
type Platform struct{ OS, Arch, Variant string }

// PullOptions controls fetching an image.
type PullOptions struct {
	Policy   PullPolicy
	Platform Platform
	Registry Registry
	// Report receives the copy progress lines of cli.md §5; nil discards them.
	Report io.Writer
	// Progress, if set, is told now and then how many bytes of an image are here, of those that are fetched.
	Progress func(done, total int64) `json:"-"`
}

// Isolation chooses the runner (containers.md §8.4).
type Isolation string

// The isolations. Native is the default and needs nothing installed; Rootless means native as well.
const (
	IsolationDefault  Isolation = ""
	IsolationOCI      Isolation = "oci"
	IsolationChroot   Isolation = "chroot"
	IsolationRootless Isolation = "rootless"
)

// A Namespace is one namespace choice: "" and "private" are a new one, "host" the caller's, a path joins. Of networks "" is
// the host's; "none", "pasta[:OPTION,...]" and names of networks are further choices. [ParseNamespace] reads one.
type Namespace string

// Sandbox holds how commands run in a container: given to `from` it becomes the container's default,
// given to `run` or `build` it overrides that.
type Sandbox struct {
	Isolation    Isolation
	Runtime      string
	RuntimeFlags []string
	// NoPivot moves the root over the old one instead of exchanging the two, where the root is a ramdisk.
	NoPivot    bool
	Namespaces Namespaces
	Security   Security
	Limits     Limits
	Hosts      Hosts
	// Devices are "HOST[:CONTAINER[:rwm]]", or names of the container device interface, "VENDOR/CLASS=NAME".
	Devices []string
	// Volumes are "HOST:CONTAINER[:OPTIONS]" (cli.md §8.15).
	Volumes []string
	// Mounts are values of --mount for every command; what they bind are paths of the host.
	Mounts []string
	// DefaultVolumes and DefaultMounts are those of the host's containers.conf. What else is mounted at their places wins.
	DefaultVolumes, DefaultMounts []string
	// HooksDirs hold OCI hooks; none are those of the host's containers.conf. Commands with isolation chroot can have none.
	HooksDirs []string
	// CDIConfigDir holds further descriptions of devices that have names.
	CDIConfigDir string
	// Env are variables that the image's own override.
	Env []string
	// GroupAdd are numeric supplementary groups, or the one word keep-groups.
	GroupAdd []string
	// CNIConfigDir and CNIPluginPath are where networks with names and their plugins are; empty is what is usual. Several directories
	// are separated by colons.
	CNIConfigDir, CNIPluginPath string
}

// Namespaces of a command (cli.md §8.2).
type Namespaces struct{ Cgroup, IPC, Network, PID, UTS Namespace }

// Security settings of a command (cli.md §8.5).
type Security struct {
	// Base is the set that CapAdd and CapDrop change; nil is the default one.
	Base            []string
	CapAdd, CapDrop []string
	// Options are the values of --security-opt.
	Options []string
	// ProcessLabel and MountLabel are SELinux labels; empty are the container's own. [Security.Labelled] makes them for a build.
	ProcessLabel, MountLabel string
	// Insecure gives the command all that this process has: every capability and device, no filter, nothing masked or read-only.
	Insecure bool
}

// Limits on a command's resources (cli.md §8.4). Zero means unlimited or the default.
type Limits struct {
	CgroupParent string // a path below the root of the hierarchy
	// CPUQuota of each CPUPeriod, both in microseconds, is what a command gets of one CPU; a quota of -1 is unlimited. CPUShares is its weight beside others.
	CPUPeriod              uint64
	CPUQuota               int64
	CPUShares              uint64
	CPUSetCPUs, CPUSetMems string   // numbers and ranges, as "0-3,5"
	Memory, MemorySwap     int64    // bytes; MemorySwap includes Memory, -1 is unlimited
	ShmSize                int64    // bytes
	Ulimits                []string // "TYPE=SOFT[:HARD]"
}

// Hosts is the name service of a command (cli.md §8.6).
type Hosts struct {
	AddHost                           []string
	DNSServers, DNSSearch, DNSOptions []string
	NoHosts, NoHostname, NoHTTPProxy  bool
	// Base is what /etc/hosts begins with: a file of the host, "image" or "none"; empty is the host's own.
	Base string
	// Gateway is the host's address as commands are told it: empty is the first that is no loopback's, "none" tells none.
	Gateway string
}

// FromOptions controls making a working container.
type FromOptions struct {
	// Name is exact; empty generates one from the image's name and Suffix ("working-container").
	Name, Suffix string
	Pull         PullOptions
	Sandbox      Sandbox
	// Format is what commits default to.
	Format Format
	// Users is the container's user namespace.
	Users Users
}

// Stdio is what a command reads and writes. Terminal asks for a pseudo-terminal.
type Stdio struct {
	In       *os.File
	Out, Err io.Writer
	Terminal bool
}

// MountSource is what mounts can be taken from.
type MountSource struct {
	Root *rootfs.Root
	// IgnoreFile hides parts of it, "" for nothing.
	IgnoreFile string
	// RootOwns shows its files as root's, whoever owns them.
	RootOwns bool
	Close    func() error
}

// RunOptions controls one command in a container.
type RunOptions struct {
	Sandbox Sandbox
	User    string   // "user[:group]" by name or number; empty is the configuration's
	Dir     string   // made if it is not there; empty is the configuration's
	Env     []string // "K=V"; later entries win over earlier ones and over the image's
	// Hostname of the command; empty is the container's short ID.
	Hostname string
	// Mounts come from --mount (cli.md §8.14).
	Mounts []Mount
	// Context is what bind mounts without from= are taken from, IgnoreFile a file of the host that hides parts of it. With
	// nil they are paths of the host, which rw mounts write to.
	Context    *rootfs.Root
	IgnoreFile string
	// RootOwns shows the files of Context as root's, whoever owns them.
	RootOwns bool
	// Open opens what from= names; nil opens images. The caller of Run keeps Context; what Open returns is closed by Run.
	Open func(ctx context.Context, from string) (MountSource, error)
	// Identify names the content that Open would give, for the keys of caches that begin with it; nil identifies images.
	Identify func(from string) (string, error)
	// SeedCache puts what a cache mount that is not there yet begins with into dir and tells whether there was something; after
	// false dir is emptied. CacheUsed is told of the cache mounts that the command could write to. Either may be nil.
	SeedCache func(ctx context.Context, m CacheMount, dir string) bool
	CacheUsed func(CacheMount)
	// Secrets and Agents are what mounts of those types may ask for.
	Secrets []Secret
	Agents  []Agent
	Stdio   Stdio
	// ValidExitCodes are those that mean success; empty is 0 only.
	ValidExitCodes []int
}

// CopyOptions controls one copy or add.
type CopyOptions struct {
	// Chown is "user[:group]", looked up in the container; Chmod is octal or symbolic.
	Chown, Chmod string
	// KeepOwner keeps the source's owners (sources that are images or containers); otherwise 0:0.
	KeepOwner bool
	// Top copies a directory that is named with its own owner and mode, as far as the others say so (not of COPY).
	Top bool `json:",omitempty"`
	// Unpack extracts local archives (add).
	Unpack            bool
	Parents, NoFollow bool
	Excludes          []string
	// IgnoreFile is read from the host; its patterns are relative to the source's root.
	IgnoreFile         string
	AllowEmptyWildcard bool
	NoWildcard         bool
	// Link copies as into a layer of its own on top, without a look at what the destination is (COPY --link).
	Link bool
	// Mtime is given to everything copied.
	Mtime *time.Time
	// Index knows digests of files of a context from earlier builds; nil knows none.
	Index *copier.Index `json:"-"`
	// List lists the paths of the content (ContentDigest).
	List bool `json:"-"`
	// NoDigest makes no digest, where one is known: data is then copied by the kernel.
	NoDigest bool
}

// Format is the family of an image's manifest and config.
type Format string

// The formats. FormatDefault is the container's own, else OCI.
const (
	FormatDefault Format = ""
	FormatOCI     Format = "oci"
	FormatDocker  Format = "docker"
)

// Output says what kind of image a commit or build writes and how it can be repeated bit for bit.
type Output struct {
	Format Format
	// Timestamp fixes created, history and every mtime in new layers.
	Timestamp *time.Time
	// Epoch fixes created and history only; with Rewrite it also clamps mtimes in new layers.
	Epoch   *time.Time
	Rewrite bool
	Squash  bool // one layer with everything, the base included
	// OmitHistory, NoCreatedAnnotation and IdentityLabel are the switches of cli.md §8.11; IdentityLabel nil is the default there.
	OmitHistory         bool
	NoCreatedAnnotation bool
	IdentityLabel       *bool
	Compression         Compression
	// UnsetAnnotations are taken away at the very end, the automatic ones too.
	UnsetAnnotations []string
}

// Compression of layers on their way to something other than local storage.
type Compression struct {
	Format string // gzip, zstd, zstd:chunked; empty is the default
	Level  *int   // 1 to 9 of gzip, 1 to 20 of zstd; nil is the default
	Force  bool   // layers that have another compression are compressed anew
	// Disable keeps layers uncompressed where the destination permits; Enable insists. Neither is the operation's default.
	Disable, Enable bool
}

// CommitOptions controls making an image of a working container.
type CommitOptions struct {
	Output Output
	// Changes are applied to the image only, not to the container.
	Changes []config.Change
	// AddFiles are "source[:destination]" files put into a layer of their own.
	AddFiles []string
	// Remove deletes the container after success; its layer can then be moved instead of copied.
	Remove   bool
	Registry Registry
	SBOM     SBOM
	Sign     Signing
	Encrypt  Encryption // for destinations other than local storage
	Report   io.Writer
}

// PushOptions controls copying an image to a destination.
type PushOptions struct {
	Registry    Registry
	Format      string // oci, v2s1, v2s2; empty is the image's own
	Compression Compression
	// AddCompression are further compressions that every image of a list is to exist in.
	AddCompression []string
	// Time is given to the files of an archive (oci-archive), so that it repeats bit for bit.
	Time *time.Time
	// ListOnly pushes a list without its images: the destination has them already.
	ListOnly bool
	Sign     Signing
	Encrypt  Encryption // for destinations other than local storage
	Report   io.Writer
	// Written is told of the manifest as it is at the destination ([DescribeManifest]); nil is nobody.
	Written func(manifest []byte)
}

// WorkspaceOptions controls a workspace.
type WorkspaceOptions struct {
	// Users is the user namespace of commands: explicit maps, as [Store.SettleUsers] gives them.
	Users Users
	// Sandbox is the default for every Run.
	Sandbox Sandbox
	// Hostname of commands; a build uses "buildkitsandbox".
	Hostname string
}

// LayerOptions controls sealing a workspace into a layer.
type LayerOptions struct {
	Output Output
	// Created is kept with the layer and comes back from Store.Layer.
	Created time.Time
	// History is the created_by text kept with the layer.
	History string
}
