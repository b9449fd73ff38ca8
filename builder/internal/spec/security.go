package spec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// MaskedPaths are hidden from commands by default (containers.md §8.2).
func MaskedPaths() []string {
	return strings.Fields(`/proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
		/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux`)
}

// ReadonlyPaths cannot be written to by default.
func ReadonlyPaths() []string {
	return strings.Fields("/proc/asound /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger")
}

type secured struct {
	masked, readOnly []string
	seccomp          *specs.LinuxSeccomp
	seccompFile      string
	noNewPrivileges  bool
	apparmor         string
	label            string // the last option that asks for a label
}

// security reads the --security-opt values (cli.md §8.5).
func security(in Input) (secured, error) {
	s := secured{masked: MaskedPaths(), readOnly: ReadonlyPaths()}
	for _, o := range in.SecurityOpts {
		if err := s.option(o); err != nil {
			return s, err
		}
	}
	if in.Insecure {
		return secured{noNewPrivileges: s.noNewPrivileges}, nil
	}
	if err := s.enforceable(in); err != nil {
		return s, err
	}
	return s, s.filter(in)
}

// enforceable refuses profiles and labels that the kernel would not enforce.
func (s *secured) enforceable(in Input) error {
	switch {
	case s.label != "" && !in.SELinux:
		return fmt.Errorf("--security-opt %q: SELinux is not enabled on this host", s.label)
	case s.apparmor == "":
		return nil
	case !in.AppArmor:
		return fmt.Errorf("--security-opt %q: AppArmor is not enabled on this host", "apparmor="+s.apparmor)
	case in.AppArmorLoaded != nil && !in.AppArmorLoaded(s.apparmor):
		return fmt.Errorf("AppArmor profile %q is not loaded: load it with apparmor_parser, or use --security-opt apparmor=unconfined", s.apparmor)
	}
	return nil
}

func (s *secured) option(o string) error {
	key, value, given := strings.Cut(o, "=")
	switch {
	case key == "no-new-privileges":
		s.noNewPrivileges = !given || value == "true"
		if given && value != "true" && value != "false" {
			return fmt.Errorf("invalid --security-opt %q", o)
		}
	case key == "seccomp" && value != "":
		s.seccompFile = value
	case key == "apparmor" && value == "unconfined":
		s.apparmor = ""
	case key == "apparmor" && value != "":
		s.apparmor = value
	case key == "label" && (value == "disable" || value == "nested"): // the labels themselves are made where the container is
		s.label = ""
	case key == "label" && labelOption(value):
		s.label = o
	case key == "mask" && value != "":
		s.masked = append(s.masked, strings.Split(value, ":")...)
	case key == "unmask" && value != "":
		s.unmask(value)
	default:
		return fmt.Errorf("invalid --security-opt %q: not supported", o)
	}
	return nil
}

func labelOption(value string) bool {
	key, text, _ := strings.Cut(value, ":")
	return text != "" && slices.Contains([]string{"user", "role", "type", "level", "filetype"}, key)
}

// filter chooses the seccomp profile.
func (s *secured) filter(in Input) (err error) {
	switch s.seccompFile {
	case "unconfined":
		return nil
	case "":
		if in.SeccompProfile == nil {
			s.seccomp = defaultSeccomp(in.Capabilities, in.Arch)
			return nil
		}
		s.seccomp, err = Profile(in.SeccompProfile, in.Capabilities, in.Arch)
		return err
	}
	text, err := in.ReadFile(s.seccompFile)
	if err != nil {
		return fmt.Errorf("opening seccomp profile: %w", err)
	}
	if s.seccomp, err = Profile(text, in.Capabilities, in.Arch); err != nil {
		return fmt.Errorf("%s: %w", s.seccompFile, err)
	}
	return nil
}

// unmask shows paths that match one of the patterns, or all of them.
func (s *secured) unmask(value string) {
	shown := func(p string) bool {
		for _, pattern := range strings.Split(value, ":") {
			if ok, err := path.Match(pattern, p); strings.EqualFold(pattern, "all") || ok && err == nil {
				return true
			}
		}
		return false
	}
	s.masked, s.readOnly = slices.DeleteFunc(s.masked, shown), slices.DeleteFunc(s.readOnly, shown)
}
