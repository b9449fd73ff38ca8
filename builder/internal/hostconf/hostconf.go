// Package hostconf reads containers.conf, in which a host's administrator or user says what commands in containers get
// unless they are told otherwise (cli.md §7). It knows what concerns running commands and copying images; all other keys are
// ignored, as the file belongs to a family of tools.
package hostconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
)

// Conf are the values of the files, later ones over earlier ones.
type Conf struct {
	Containers Containers `toml:"containers"`
	Engine     Engine     `toml:"engine"`
	Network    Network    `toml:"network"`
}

// Containers is what commands get.
type Containers struct {
	Annotations     Strings  `toml:"annotations"`
	Capabilities    *Strings `toml:"default_capabilities"`
	Sysctls         Strings  `toml:"default_sysctls"`
	Ulimits         Strings  `toml:"default_ulimits"`
	Env             Strings  `toml:"env"`
	Volumes         Strings  `toml:"volumes"`
	Mounts          Strings  `toml:"mounts"`
	Devices         Strings  `toml:"devices"`
	DNSServers      Strings  `toml:"dns_servers"`
	DNSSearches     Strings  `toml:"dns_searches"`
	DNSOptions      Strings  `toml:"dns_options"`
	ShmSize         string   `toml:"shm_size"`
	Seccomp         string   `toml:"seccomp_profile"`
	AppArmor        string   `toml:"apparmor_profile"`
	Label           *bool    `toml:"label"`
	LabelUsers      bool     `toml:"label_users"`
	HTTPProxy       *bool    `toml:"http_proxy"`
	BaseHosts       string   `toml:"base_hosts_file"`
	HostAddress     string   `toml:"host_containers_internal_ip"`
	NameAsHostname  bool     `toml:"container_name_as_hostname"`
	CgroupNamespace string   `toml:"cgroupns"`
	IPCNamespace    string   `toml:"ipcns"`
	NetNamespace    string   `toml:"netns"`
	PIDNamespace    string   `toml:"pidns"`
	UserNamespace   string   `toml:"userns"`
	UTSNamespace    string   `toml:"utsns"`
}

// Engine is how the work is done.
type Engine struct {
	AddCompression    Strings            `toml:"add_compression"`
	CDIDirs           Strings            `toml:"cdi_spec_dirs"`
	CgroupManager     string             `toml:"cgroup_manager"`
	CompressionFormat string             `toml:"compression_format"`
	CompressionLevel  *int               `toml:"compression_level"`
	Env               Strings            `toml:"env"`
	HelperDirs        Strings            `toml:"helper_binaries_dir"`
	HooksDirs         Strings            `toml:"hooks_dir"`
	ParallelCopies    uint               `toml:"image_parallel_copies"`
	Retry             *int               `toml:"retry"`
	RetryDelay        string             `toml:"retry_delay"`
	Runtime           string             `toml:"runtime"`
	Runtimes          map[string]Strings `toml:"runtimes"`
	TempDir           string             `toml:"image_copy_tmp_dir"`
}

// Network is how commands with a network of their own are connected.
type Network struct {
	Backend       string  `toml:"network_backend"`
	ConfigDir     string  `toml:"network_config_dir"`
	Default       string  `toml:"default_network"`
	DefaultSubnet string  `toml:"default_subnet"`
	UserMode      string  `toml:"default_rootless_network_cmd"`
	PastaOptions  Strings `toml:"pasta_options"`
}

// Strings is a list. One that holds {append=true} is added to that of the files before, which it replaces otherwise.
type Strings []string

// UnmarshalTOML reads the list.
func (s *Strings) UnmarshalTOML(v any) error {
	items, ok := v.([]any)
	if !ok {
		return errors.New("want a list of strings")
	}
	var list []string
	add := false
	for _, item := range items {
		switch item := item.(type) {
		case string:
			list = append(list, item)
		case map[string]any:
			on, ok := item["append"].(bool)
			if !ok || len(item) != 1 {
				return errors.New("want strings, or {append=true}")
			}
			add = on
		default:
			return errors.New("want a list of strings")
		}
	}
	if add {
		list = append(*s, list...)
	}
	*s = list
	return nil
}

// Files lists the files that count, in rising priority. lookup gives the variables of the caller; user says that the caller is
// not root, and has a file as well.
func Files(lookup func(string) (string, bool), user bool) []string {
	var list []string
	if one, _ := lookup("CONTAINERS_CONF"); one != "" {
		list = []string{one}
	} else {
		list = []string{"/usr/share/containers/containers.conf", "/etc/containers/containers.conf"}
		list = append(list, dropIns("/etc/containers")...)
		if dir := userDir(lookup); user && dir != "" {
			list = append(append(list, filepath.Join(dir, "containers.conf")), dropIns(dir)...)
		}
	}
	if last, _ := lookup("CONTAINERS_CONF_OVERRIDE"); last != "" {
		list = append(list, last)
	}
	return list
}

func userDir(lookup func(string) (string, bool)) string {
	if dir, _ := lookup("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "containers")
	}
	if home, _ := lookup("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config/containers")
	}
	return ""
}

func dropIns(dir string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, "containers.conf.d", "*.conf")) // sorted; the pattern is good
	return list
}

const maxSize = 1 << 20

// Mention tells, without reading them as Read does, whether a key may be set in one of the files: most are comments only, and what
// every command asks for must cost nothing.
func Mention(files []string, key string) bool {
	for _, name := range files {
		if st, err := os.Stat(name); err != nil || st.Size() > maxSize {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			begin := bytes.Trim(line, " \t\"'")
			if bytes.HasPrefix(begin, []byte(key)) || bytes.HasPrefix(begin, []byte("engine")) { // as in engine.env, or engine = {…}
				return true
			}
		}
	}
	return false
}

// Read reads the files; those that are not there say nothing.
func Read(files []string) (*Conf, error) {
	var c Conf
	for _, name := range files {
		if err := c.read(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return &c, nil
}

func (c *Conf) read(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if st.Size() > maxSize {
		return fmt.Errorf("larger than %d bytes", maxSize)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return c.parse(string(text))
}

func (c *Conf) parse(text string) error {
	_, err := toml.Decode(text, c)
	return err
}
