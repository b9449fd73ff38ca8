package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

func globalFlags(root *cobra.Command, g *globals) {
	fs := root.PersistentFlags()
	o := &g.store
	fs.StringVar(&o.Root, "root", g.env.own("ROOT"), "storage root `dir`ectory")
	fs.StringVar(&o.RunRoot, "runroot", g.env.own("RUNROOT"), "`dir`ectory of volatile storage state")
	fs.StringVar(&o.ImageStore, "imagestore", "", "separate `dir`ectory for image layers")
	fs.StringVar(&o.Driver, "storage-driver", g.env.plain("STORAGE_DRIVER"), "storage `driver`: overlay or vfs")
	fs.StringVar(&o.Ownership, "ownership", g.env.own("OWNERSHIP"), "`what` becomes of owners that cannot be set: record, ignore or fail")
	fs.StringSliceVar(&o.DriverOptions, "storage-opt", nil, "storage driver `option`")
	fs.BoolVar(&o.TransientStore, "transient-store", false, "keep container metadata in the volatile directory")
	fs.StringVar(&o.RegistriesConf, "registries-conf", "", "registries.conf `file`")
	fs.StringVar(&o.RegistriesConfDir, "registries-conf-dir", "", "registries.conf.d `dir`ectory")
	fs.StringVar(&o.ShortNameAliases, "short-name-alias-conf", "", "short-name alias `file`")
	fs.StringSliceVar(&o.UIDMap, "userns-uid-map", nil, "default `ctrID:hostID:length` user ID map")
	fs.StringSliceVar(&o.GIDMap, "userns-gid-map", nil, "default `ctrID:hostID:length` group ID map")
	fs.Var(oneOf{&o.CgroupManager, []string{"cgroupfs", "systemd"}}, "cgroup-manager", "who makes cgroups for OCI runtimes: `manager` cgroupfs or systemd")
	fs.StringVar(&o.MountsFile, "default-mounts-file", "", "`file` used instead of the files mounts.conf")
	fs.StringVar(&g.profile.cpu, "cpu-profile", "", "write a CPU profile to `file`")
	fs.StringVar(&g.profile.memory, "memory-profile", "", "write a memory profile to `file`")
	for _, name := range []string{"default-mounts-file", "cpu-profile", "memory-profile"} {
		_ = fs.MarkHidden(name)
	}
	fs.StringVar(&g.logLevel, "log-level", "warn", "log `level`: trace, debug, info, warn, error, fatal, panic")
	fs.BoolVar(&g.debug, "debug", false, "same as --log-level=debug")
	_ = fs.MarkHidden("debug")
}

// prepare turns global flags into the store's options.
func (g *globals) prepare(*cobra.Command, []string) error {
	if g.debug {
		g.logLevel = "debug"
	}
	level, err := logrus.ParseLevel(g.logLevel)
	if err != nil {
		return fmt.Errorf("unable to parse log level: not a valid logrus Level: %q", g.logLevel)
	}
	logrus.SetLevel(level)
	logrus.SetOutput(g.err)
	logrus.SetFormatter(once{&logrus.TextFormatter{}})
	g.store.Log = slog.New(logHandler{logrus.StandardLogger()})
	g.store.Environ = g.env.lookup
	g.store.TempDir = g.env.plain("TMPDIR")
	if err := g.runtimeDir(); err != nil {
		return err
	}
	return g.profile.start()
}

// runtimeDir gives libraries a directory for run-time files where they would find none, and fail although they were told where the
// storage is: no XDG_RUNTIME_DIR, no /run/user, and no place for temporary files, as in a pod whose root is read-only.
func (g *globals) runtimeDir() error {
	if g.store.RunRoot == "" || g.env.plain("XDG_RUNTIME_DIR") != "" {
		return nil
	}
	if d, err := os.MkdirTemp("", "slipway-"); err == nil {
		return os.Remove(d)
	}
	dir, err := filepath.Abs(g.store.RunRoot)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("preparing --runroot: %w", err)
	}
	return os.Setenv("XDG_RUNTIME_DIR", dir)
}

// registryFlags binds how registries are reached.
func registryFlags(fs *pflag.FlagSet, g *globals, r *builder.Registry) {
	fs.StringVar(&r.AuthFile, "authfile", g.env.plain("REGISTRY_AUTH_FILE"), "`file` with registry credentials")
	fs.StringVar(&r.CertDir, "cert-dir", "", "`dir`ectory of TLS certificates")
	fs.Var(&creds{g, &r.Creds}, "creds", "`user[:password]` for the registry")
	fs.Var(&optionalBool{&r.TLSVerify}, "tls-verify", "require HTTPS and verify certificates")
	fs.Lookup("tls-verify").NoOptDefVal = "true"
	fs.StringVar(&r.PolicyFile, "signature-policy", "", "signature policy `file`")
	_ = fs.MarkHidden("signature-policy")
}

// signFlags binds how images are signed.
func signFlags(fs *pflag.FlagSet, g *globals, o *builder.Signing) func() error {
	var file string
	fs.StringVar(&o.GPGKey, "sign-by", "", "sign with the OpenPGP key of that `fingerprint`, which gpg has")
	fs.StringVar(&o.SigstoreKey, "sign-by-sigstore-private-key", "", "sign with the sigstore key in `file`")
	fs.StringVar(&file, "sign-passphrase-file", "", "`file` with the passphrase of the key to sign with")
	return func() (err error) {
		switch {
		case o.GPGKey != "" && o.SigstoreKey != "":
			err = errors.New("--sign-by and --sign-by-sigstore-private-key cannot be used together: sign with one key, then push again with the other")
		case o.GPGKey == "" && o.SigstoreKey == "":
			if file != "" {
				err = errors.New("--sign-passphrase-file needs --sign-by or --sign-by-sigstore-private-key")
			}
		case file != "":
			o.Passphrase, err = passphrase(file)
		case o.SigstoreKey != "":
			if g.in == nil || !term.IsTerminal(int(g.in.Fd())) {
				return errors.New("the passphrase of the sigstore key is needed: use --sign-passphrase-file")
			}
			var text string
			text, err = g.askPassword()
			o.Passphrase = []byte(text)
		}
		return err
	}
}

// sbomFlags binds what is made a list of, and where that goes (cli.md §8.12).
func sbomFlags(fs *pflag.FlagSet, o *builder.SBOM) func() error {
	var preset string
	var given builder.SBOM
	fs.StringVar(&preset, "sbom", "", "make an SBOM with the scanner of a `preset`: syft, trivy, each with -cyclonedx or -spdx")
	fs.StringVar(&given.Image, "sbom-scanner-image", "", "make an SBOM with a scanner in `image`")
	fs.StringArrayVar(&given.Commands, "sbom-scanner-command", nil, "`command` of the scanner, with {ROOTFS}, {CONTEXT} and {OUTPUT}")
	fs.StringVar(&given.Merge, "sbom-merge-strategy", "", "`how` the results of several commands become one: cat, merge-cyclonedx-by-component-name-and-version, merge-spdx-by-package-name-and-versioninfo")
	fs.StringVar(&given.Output, "sbom-output", "", "write the SBOM to `file`")
	fs.StringVar(&given.ImageOutput, "sbom-image-output", "", "put the SBOM into the image at `path`")
	fs.StringVar(&given.PURLOutput, "sbom-purl-output", "", "write the package URLs of the SBOM to `file`")
	fs.StringVar(&given.ImagePURLOutput, "sbom-image-purl-output", "", "put the package URLs of the SBOM into the image at `path`")
	return func() (err error) {
		pull := o.Pull
		if *o = given; preset != "" {
			if *o, err = builder.SBOMPreset(preset); err != nil {
				return err
			}
			override(&o.Image, given.Image)
			override(&o.Merge, given.Merge)
			if len(given.Commands) > 0 {
				o.Commands = given.Commands
			}
			if given.Output+given.ImageOutput+given.PURLOutput+given.ImagePURLOutput != "" {
				o.Output, o.ImageOutput, o.PURLOutput, o.ImagePURLOutput = given.Output, given.ImageOutput, given.PURLOutput, given.ImagePURLOutput
			}
		}
		o.Pull = pull
		return o.Check()
	}
}

func override(p *string, value string) {
	if value != "" {
		*p = value
	}
}

// encryptFlags binds for whom layers are encrypted.
func encryptFlags(fs *pflag.FlagSet, e *builder.Encryption) {
	fs.StringSliceVar(&e.Keys, "encryption-key", nil, "encrypt layers for a `key`: jwe:FILE, pkcs7:FILE or pgp:ID")
	fs.IntSliceVar(&e.Layers, "encrypt-layer", nil, "encrypt the layer with that `index` only, negative from the end")
}

// blobCacheFlag binds the directory that keeps blobs of images, for those who pull into ever new storage.
func blobCacheFlag(fs *pflag.FlagSet, r *builder.Registry) {
	fs.StringVar(&r.BlobCache, "blob-cache", "", "`dir`ectory that keeps blobs of images for later pulls and pushes")
	_ = fs.MarkHidden("blob-cache")
}

// decryptFlag binds the keys for encrypted layers.
func decryptFlag(fs *pflag.FlagSet, r *builder.Registry) {
	fs.StringSliceVar(&r.DecryptionKeys, "decryption-key", nil, "`key[:passphrase]` that decrypts layers")
}

// passphrase reads the first line of a file.
func passphrase(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading --sign-passphrase-file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<12))
	if err != nil {
		return nil, fmt.Errorf("reading --sign-passphrase-file: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// historyFlag binds --add-history of the commands that change a container (cli.md §3).
func historyFlag(fs *pflag.FlagSet, g *globals) *bool {
	on, _ := strconv.ParseBool(g.env.get("HISTORY"))
	return fs.Bool("add-history", on, "record what is done in the history of the image")
}

// creds is user:password; a password that is missing is asked for.
type creds struct {
	g *globals
	p *string
}

func (c *creds) String() string { return "" }

// Type names the value in help texts.
func (c *creds) Type() string { return "string" }

// Set takes the value, and asks.
func (c *creds) Set(text string) (err error) {
	if !strings.Contains(text, ":") {
		password := ""
		if password, err = c.g.askPassword(); err != nil {
			return err
		}
		text += ":" + password
	}
	*c.p = text
	return nil
}

func retryFlags(fs *pflag.FlagSet, r *builder.Registry) {
	r.Retries = builder.RetriesDefault
	fs.Var(retries{&r.Retries}, "retry", "further `attempts` after a network failure (default containers.conf's, or 3)")
	fs.Var(&delay{&r.RetryDelay}, "retry-delay", "`time` between attempts; growing when not given")
}

// retries is a number whose default is containers.conf's.
type retries struct{ p *int }

func (v retries) String() string { return "" }

// Type names the value in help texts.
func (v retries) Type() string { return "int" }

// Set parses a number.
func (v retries) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = errors.New("want 0 or more")
	}
	if err == nil {
		*v.p = n
	}
	return err
}

// delay is a duration whose default is not a fixed one.
type delay struct{ p *time.Duration }

// String is the first of the growing delays.
func (d *delay) String() string { return "2s" }

// Type names the value in help texts.
func (d *delay) Type() string { return "duration" }

// Set parses a duration.
func (d *delay) Set(text string) (err error) {
	*d.p, err = time.ParseDuration(text)
	return err
}

// optionalBool is a flag that can also be unset.
type optionalBool struct{ p **bool }

func (b *optionalBool) String() string {
	if b.p == nil || *b.p == nil {
		return ""
	}
	return fmt.Sprint(**b.p)
}

// Set parses a boolean.
func (b *optionalBool) Set(text string) error {
	var v bool
	switch strings.ToLower(text) {
	case "true", "1", "t":
		v = true
	case "false", "0", "f":
	default:
		return fmt.Errorf("%q is not true or false", text)
	}
	*b.p = &v
	return nil
}

// Type names the value in help texts.
func (b *optionalBool) Type() string { return "bool" }

// oneOf is the value of a flag that takes certain words only.
type oneOf struct {
	p     *string
	words []string
}

func (v oneOf) String() string { return "" }

// Type names the value in help texts.
func (v oneOf) Type() string { return "string" }

// Set takes a word.
func (v oneOf) Set(text string) error {
	if !slices.Contains(v.words, text) {
		return fmt.Errorf("want %s", strings.Join(v.words, " or "))
	}
	*v.p = text
	return nil
}

// pullPolicy is the value of --pull and --policy.
type pullPolicy struct{ p *builder.PullPolicy }

func (v pullPolicy) String() string { return "" }

// Type names the value in help texts.
func (v pullPolicy) Type() string { return "policy" }

// pullFlags binds when images are pulled, with the former spellings.
func pullFlags(fs *pflag.FlagSet, p *builder.PullPolicy) func() error {
	fs.Var(pullPolicy{p}, "pull", "when to pull: missing, always, newer, never")
	fs.Lookup("pull").NoOptDefVal = "always"
	always := fs.Bool("pull-always", false, "same as --pull=always")
	never := fs.Bool("pull-never", false, "same as --pull=never")
	_, _ = fs.MarkHidden("pull-always"), fs.MarkHidden("pull-never")
	return func() error {
		given := 0
		for _, name := range []string{"pull", "pull-always", "pull-never"} {
			if fs.Changed(name) {
				given++
			}
		}
		switch {
		case given > 1:
			return errors.New("can only set one of 'pull' or 'pull-always' or 'pull-never'")
		case *always:
			*p = builder.PullAlways
		case *never:
			*p = builder.PullNever
		}
		return nil
	}
}

// Set parses a policy.
func (v pullPolicy) Set(text string) error {
	switch strings.ToLower(text) {
	case "missing", "ifmissing", "notpresent":
		*v.p = builder.PullMissing
	case "always", "true":
		*v.p = builder.PullAlways
	case "newer", "ifnewer":
		*v.p = builder.PullNewer
	case "never", "false":
		*v.p = builder.PullNever
	default:
		return fmt.Errorf("unsupported pull policy %q", text)
	}
	return nil
}

// platformFlags binds which platform of an image is meant.
func platformFlags(fs *pflag.FlagSet, p *builder.Platform) func() error {
	platforms := platformsFlags(fs, "`os/arch[/variant]` of the image")
	return func() error {
		list, err := platforms()
		if err != nil {
			return err
		}
		if len(list) > 1 {
			logrus.Warnf("only the first platform, %s, is used", list[0].OrHost())
		}
		*p = list[0]
		return nil
	}
}

// platformsFlags binds flags that can name several platforms; what they return has at least one, the zero one for the host.
func platformsFlags(fs *pflag.FlagSet, help string) func() ([]builder.Platform, error) {
	var texts []string
	var one builder.Platform
	fs.StringSliceVar(&texts, "platform", nil, help)
	fs.StringVar(&one.OS, "os", "", "operating `system` of the image")
	fs.StringVar(&one.Arch, "arch", "", "`architecture` of the image")
	fs.StringVar(&one.Variant, "variant", "", "architecture `variant` of the image")
	return func() (list []builder.Platform, err error) {
		if len(texts) == 0 {
			texts = []string{strings.TrimRight(strings.Join([]string{one.OS, one.Arch, one.Variant}, "/"), "/") + "/"}
		} else if one != (builder.Platform{}) {
			return nil, errors.New("invalid --platform may not be used with --os, --arch, or --variant")
		}
		for _, text := range texts {
			p, err := builder.ParsePlatform(text)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(list, func(q builder.Platform) bool { return p.OrHost() == q.OrHost() }) {
				list = append(list, p)
			}
		}
		return list, nil
	}
}

// sandboxFlags binds what `from` and `build` say about running commands.
func sandboxFlags(fs *pflag.FlagSet, s *builder.Sandbox) func() error {
	var shm string
	capFlags(fs, s)
	namespaceFlags(fs, s)
	fs.StringSliceVar(&s.Hosts.AddHost, "add-host", nil, "`name:ip` for /etc/hosts")
	fs.StringSliceVar(&s.Hosts.DNSServers, "dns", nil, "name `server`, or none to leave the image's resolv.conf")
	fs.StringSliceVar(&s.Hosts.DNSSearch, "dns-search", nil, "search `domain`")
	fs.StringSliceVar(&s.Hosts.DNSOptions, "dns-option", nil, "resolver `option`")
	httpProxy := fs.Bool("http-proxy", true, "pass proxy variables to commands")
	fs.StringArrayVar(&s.Security.Options, "security-opt", nil, "security `option`")
	fs.StringSliceVar(&s.Limits.Ulimits, "ulimit", nil, "resource limit `type=soft[:hard]`")
	fs.StringVar(&shm, "shm-size", "", "`size` of /dev/shm (default 65536k)")
	fs.StringArrayVarP(&s.Volumes, "volume", "v", nil, "bind mount `HOST:CONTAINER[:OPTIONS]`")
	deviceFlags(fs, s, "host `device` for commands, HOST[:CONTAINER[:rwm]] or VENDOR/CLASS=NAME")
	fs.StringSliceVar(&s.GroupAdd, "group-add", nil, "further `group` of commands, by number, or keep-groups for the caller's")
	limits := limitFlags(fs, &s.Limits)
	return func() (err error) {
		s.Hosts.NoHTTPProxy = !*httpProxy
		if err := s.Hosts.Check(s.Namespaces.Network); err != nil {
			return err
		}
		if err := limits(); err != nil {
			return err
		}
		if shm != "" {
			s.Limits.ShmSize, err = bytesOf(shm)
		}
		return err
	}
}

// deviceFlags binds devices, and where those with names are described.
func deviceFlags(fs *pflag.FlagSet, s *builder.Sandbox, help string) {
	fs.StringArrayVar(&s.Devices, "device", nil, help)
	fs.Var(absolute{&s.CDIConfigDir}, "cdi-config-dir", "`dir`ectory with further descriptions of devices that have names")
	_ = fs.MarkHidden("cdi-config-dir")
}

// absolute is a path, kept as one that does not depend on the current directory.
type absolute struct{ p *string }

func (v absolute) String() string { return "" }

// Type names the value in help texts.
func (v absolute) Type() string { return "string" }

// Set takes a path.
func (v absolute) Set(text string) (err error) {
	*v.p, err = filepath.Abs(text)
	return err
}

// limitFlags binds the limits that a cgroup enforces (cli.md §8.4): OCI runtimes set it up.
func limitFlags(fs *pflag.FlagSet, l *builder.Limits) func() error {
	var memory, swap string
	fs.StringVar(&l.CgroupParent, "cgroup-parent", "", "parent `cgroup` of commands (isolation oci)")
	fs.Uint64Var(&l.CPUPeriod, "cpu-period", 0, "CPU period in `microseconds` (isolation oci)")
	fs.Int64Var(&l.CPUQuota, "cpu-quota", 0, "CPU quota in `microseconds` (isolation oci)")
	fs.Uint64VarP(&l.CPUShares, "cpu-shares", "c", 0, "CPU `weight` (isolation oci)")
	fs.StringVar(&l.CPUSetCPUs, "cpuset-cpus", "", "`CPUs` to use, as 0-3,5 (isolation oci)")
	fs.StringVar(&l.CPUSetMems, "cpuset-mems", "", "memory `nodes` to use (isolation oci)")
	fs.StringVarP(&memory, "memory", "m", "", "memory limit, a `size` as 512m (isolation oci)")
	fs.StringVar(&swap, "memory-swap", "", "`size` of memory and swap together, -1 for unlimited (isolation oci)")
	return func() (err error) {
		if memory != "" {
			if l.Memory, err = bytesOf(memory); err != nil {
				return fmt.Errorf("invalid value for memory: %w", err)
			}
		}
		switch swap {
		case "":
		case "-1":
			l.MemorySwap = -1
		default:
			if l.MemorySwap, err = bytesOf(swap); err != nil {
				return fmt.Errorf("invalid value for memory-swap: %w", err)
			}
		}
		return nil
	}
}

// bytesOf reads a size, as 512m. One that is more than fits into its number would come out as a negative one.
func bytesOf(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%q is too large", text)
	}
	return n, err
}

func capFlags(fs *pflag.FlagSet, s *builder.Sandbox) {
	fs.StringSliceVar(&s.Security.CapAdd, "cap-add", nil, "add a `capability`")
	fs.StringSliceVar(&s.Security.CapDrop, "cap-drop", nil, "drop a `capability`")
}

func namespaceFlags(fs *pflag.FlagSet, s *builder.Sandbox) {
	n := &s.Namespaces
	for _, f := range []struct {
		name string
		p    *builder.Namespace
		help string
	}{
		{"cgroupns", &n.Cgroup, "cgroup `namespace`: private, host or a path"},
		{"ipc", &n.IPC, "IPC `namespace`: private, host or a path"}, {"pid", &n.PID, "PID `namespace`: private, host or a path"},
		{"uts", &n.UTS, "UTS `namespace`: private, host or a path"},
		{"network", &n.Network, "`network`: host (default), none, private, pasta[:OPTION,...], ns:PATH or names of networks"},
	} {
		fs.Var(namespace{f.p, f.name}, f.name, f.help)
	}
	fs.StringVar(&s.CNIConfigDir, "cni-config-dir", "", "`dir`ectory of networks with names (default /etc/cni/net.d)")
	fs.StringVar(&s.CNIPluginPath, "cni-plugin-path", "", "`dir`ectory of their plugins (default /usr/lib/cni and the like)")
	_, _ = fs.MarkHidden("cni-config-dir"), fs.MarkHidden("cni-plugin-path")
	fs.SetNormalizeFunc(oldNames)
}

// usersFlags binds whose user namespace containers have (cli.md §8.2, §8.3).
func usersFlags(fs *pflag.FlagSet, u *builder.Users) {
	fs.Var(userNamespace{&u.Namespace}, "userns", "user `namespace`: host (default), private, auto[:size=N,uidmapping=MAP,gidmapping=MAP], keep-id[:uid=N,gid=N], or a path")
	fs.StringSliceVar(&u.UIDMap, "userns-uid-map", nil, "`ctrID:hostID:length` user ID map of the user namespace")
	fs.StringSliceVar(&u.GIDMap, "userns-gid-map", nil, "`ctrID:hostID:length` group ID map (default the user ID map)")
	fs.StringVar(&u.UIDMapUser, "userns-uid-map-user", "", "map the subordinate user IDs of that `user`")
	fs.StringVar(&u.GIDMapGroup, "userns-gid-map-group", "", "map the subordinate group IDs of that `group`")
}

// userNamespace is the value of --userns.
type userNamespace struct{ p *string }

func (v userNamespace) String() string { return "" }

// Type names the value in help texts.
func (v userNamespace) Type() string { return "namespace" }

// Set takes a choice.
func (v userNamespace) Set(text string) (err error) {
	*v.p, err = builder.ParseUsers(text)
	return err
}

// namespace is the value of a namespace flag; what cannot be honoured is refused here.
type namespace struct {
	p    *builder.Namespace
	name string
}

func (v namespace) String() string { return "" }

// Type names the value in help texts.
func (v namespace) Type() string { return "namespace" }

// Set parses a choice.
func (v namespace) Set(text string) (err error) {
	*v.p, err = builder.ParseNamespace(v.name, text)
	return err
}

// oldNames accepts the former spellings of flags (cli.md §1).
func oldNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "net":
		name = "network"
	case "override-arch":
		name = "arch"
	case "override-os":
		name = "os"
	case "purge":
		name = "rm"
	case "tty":
		name = "terminal"
	case "raw-iidfile":
		name = "iidfile-raw"
	}
	return pflag.NormalizedName(name)
}

// compressionFlags binds how layers are compressed on their way out.
func compressionFlags(fs *pflag.FlagSet, c *builder.Compression) func() error {
	level := fs.Int("compression-level", 0, "compression `level`: 1 to 9 of gzip, 1 to 20 of zstd")
	fs.StringVar(&c.Format, "compression-format", "", "compression `format`: gzip, zstd or zstd:chunked")
	fs.BoolVar(&c.Force, "force-compression", false, "recompress layers that have another compression")
	fs.BoolVarP(&c.Disable, "disable-compression", "D", false, "leave layers uncompressed where the destination permits")
	return func() error {
		if fs.Changed("compression-level") {
			c.Level = level
		}
		if fs.Changed("disable-compression") {
			c.Enable = !c.Disable
			if c.Disable && (c.Format != "" || c.Force) {
				return errors.New("--disable-compression and --compression-format or --force-compression cannot be used together")
			}
		}
		return nil
	}
}

// reproFlags binds what makes results repeatable (cli.md §8.11). named, if it is not nil, gets an epoch that is no number but names
// something whose time is meant.
func reproFlags(fs *pflag.FlagSet, g *globals, o *builder.Output, named *string) func() error {
	var stamp, epoch string
	fs.StringVar(&stamp, "timestamp", "", "`seconds` that all times are set to")
	fs.StringVar(&epoch, "source-date-epoch", "", "`seconds` that the image's own times are set to (default $SOURCE_DATE_EPOCH)")
	fs.BoolVar(&o.Rewrite, "rewrite-timestamp", false, "with --source-date-epoch: clamp times in layers to it")
	fs.BoolVar(&o.OmitHistory, "omit-history", false, "write no history")
	created := fs.Bool("created-annotation", true, "set the annotation org.opencontainers.image.created")
	fs.Var(&optionalBool{&o.IdentityLabel}, "identity-label", "set the label io.buildah.version")
	fs.Lookup("identity-label").NoOptDefVal = "true"
	return func() (err error) {
		o.NoCreatedAnnotation = !*created
		if stamp != "" && epoch != "" && named != nil { // commit counts more options (oldTimeFlags)
			return errors.New("timestamp and source-date-epoch would be ambiguous if allowed together")
		}
		if stamp != "" {
			if o.Timestamp, err = seconds(stamp); err != nil {
				err = fmt.Errorf("--timestamp: %w", err)
			}
			return err
		}
		if text := first(epoch, g.env.plain("SOURCE_DATE_EPOCH")); named != nil {
			if o.Epoch, err = seconds(text); err != nil {
				*named = text
			}
			return nil
		}
		if epoch != "" {
			if o.Epoch, err = seconds(epoch); err != nil {
				err = fmt.Errorf("--source-date-epoch: %w", err)
			}
			return err
		}
		o.Epoch, err = g.env.epoch()
		return err
	}
}

func parseFormat(text string) (builder.Format, error) {
	switch text {
	case "", "oci":
		return builder.FormatOCI, nil
	case "docker":
		return builder.FormatDocker, nil
	}
	return "", fmt.Errorf("unrecognized image type %q", text)
}

// writeFile writes an ID file. A device, as /dev/null, is written in place.
func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o644) } //nolint:gosec // for other programs to read
