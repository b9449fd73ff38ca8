package builder

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"

	"github.com/slipway-build/slipway/internal/userns"
)

// Labelled returns s with SELinux labels as its options say: one pair for a whole build, so that its stages can read each other.
// Without SELinux there are none.
func (s Security) Labelled() (Security, error) {
	if !selinux.GetEnabled() || s.MountLabel != "" {
		return s, nil
	}
	var err error
	if s.ProcessLabel, s.MountLabel, err = label.InitLabels(labelOptions(s.Options)); err != nil {
		err = fmt.Errorf("making SELinux labels: %w", err)
	}
	return s, err
}

// labels are those that a command runs with.
func (c *commanded) labels() (process, mount string) {
	s, a := c.box.Security, c.w.about
	if s.Insecure {
		return "", first(s.MountLabel, a.mountLabel)
	}
	return first(s.ProcessLabel, a.processLabel), first(s.MountLabel, a.mountLabel)
}

// userLabels are the options that give a command the SELinux user and role of a label, which is the caller's.
func userLabels(label string) []string {
	f := strings.SplitN(label, ":", 3)
	if len(f) < 3 {
		return nil
	}
	return []string{"label=user:" + f[0], "label=role:" + f[1]}
}

// What AppArmor tells of itself.
const (
	apparmorEnabled  = "/sys/module/apparmor/parameters/enabled"
	apparmorProfiles = "/sys/kernel/security/apparmor/profiles"
)

func apparmor() bool { return readText(apparmorEnabled) == "Y" }

// apparmorLoaded tells whether a profile is loaded. Who may not see the list lets the kernel find out.
func apparmorLoaded(name string) bool {
	text, err := os.ReadFile(apparmorProfiles)
	return err != nil || listed(string(text), name)
}

// listed tells whether a list of lines "NAME (MODE)" has a name.
func listed(profiles, name string) bool {
	for _, line := range strings.Split(profiles, "\n") {
		if i := strings.LastIndex(line, " ("); i > 0 && line[:i] == name {
			return true
		}
	}
	return false
}

// defaultProfile is the AppArmor profile of containers.conf, where it can be used: by root, if it is loaded.
func defaultProfile(name string) string {
	if name == "" || name == "unconfined" || !apparmor() || userns.Current() != userns.Root || !apparmorLoaded(name) {
		return ""
	}
	return name
}
