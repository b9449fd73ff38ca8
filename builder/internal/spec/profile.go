package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// oldestKernel is the kernel that this program needs at least (decisions.md §1.14); rules of a profile that need a newer one do
// not apply.
const oldestKernel = "5.14"

// profileFile is the seccomp profile format that containers and Docker share: a runtime's profile with rules that depend
// on capabilities and processors.
type profileFile struct {
	DefaultAction   specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet *uint                    `json:"defaultErrnoRet"`
	DefaultErrno    string                   `json:"defaultErrno"`
	Architectures   []specs.Arch             `json:"architectures"`
	ArchMap         []struct {
		Arch specs.Arch   `json:"architecture"`
		Sub  []specs.Arch `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []struct {
		Name     string                   `json:"name"`
		Names    []string                 `json:"names"`
		Action   specs.LinuxSeccompAction `json:"action"`
		ErrnoRet *uint                    `json:"errnoRet"`
		Errno    string                   `json:"errno"`
		Args     []specs.LinuxSeccompArg  `json:"args"`
		Includes condition                `json:"includes"`
		Excludes condition                `json:"excludes"`
	} `json:"syscalls"`
}

// condition says when a rule applies.
type condition struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// Profile reads a seccomp profile file for a command with those capabilities on a processor (a GOARCH).
func Profile(text []byte, caps []string, goarch string) (*specs.LinuxSeccomp, error) {
	var f profileFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("decoding seccomp profile: %w", err)
	}
	if f.DefaultAction == "" {
		return nil, errors.New("decoding seccomp profile: no default action")
	}
	if len(f.Architectures) > 0 && len(f.ArchMap) > 0 {
		return nil, errors.New("decoding seccomp profile: both architectures and archMap are given")
	}
	var err error
	p := &specs.LinuxSeccomp{DefaultAction: f.DefaultAction, Architectures: f.Architectures}
	if p.DefaultErrnoRet, err = errnoOf(f.DefaultErrnoRet, f.DefaultErrno); err != nil {
		return nil, err
	}
	for _, a := range f.ArchMap {
		if a.Arch == archName(goarch) {
			p.Architectures = append([]specs.Arch{a.Arch}, a.Sub...)
		}
	}
	for _, s := range f.Syscalls {
		if !s.Includes.included(caps, goarch) || s.Excludes.excludes(caps, goarch) {
			continue
		}
		rule := specs.LinuxSyscall{Names: s.Names, Action: s.Action, Args: s.Args}
		if s.Name != "" {
			rule.Names = append(rule.Names, s.Name)
		}
		if rule.ErrnoRet, err = errnoOf(s.ErrnoRet, s.Errno); err != nil {
			return nil, err
		}
		p.Syscalls = append(p.Syscalls, rule)
	}
	return p, nil
}

func archName(goarch string) specs.Arch {
	switch goarch {
	case "amd64":
		return specs.ArchX86_64
	case "arm64":
		return specs.ArchAARCH64
	}
	return ""
}

// errnoOf is the number, which older files give alone, or else the one of the name.
func errnoOf(n *uint, name string) (*uint, error) {
	if n != nil || name == "" {
		return n, nil
	}
	for e := unix.Errno(1); e < 200; e++ {
		if unix.ErrnoName(e) == name {
			u := uint(e)
			return &u, nil
		}
	}
	return nil, fmt.Errorf("decoding seccomp profile: unknown errno %q", name)
}

// included tells whether all that a rule asks for is there.
func (c condition) included(caps []string, goarch string) bool {
	for _, want := range c.Caps {
		if !slices.Contains(caps, want) {
			return false
		}
	}
	return (len(c.Arches) == 0 || slices.Contains(c.Arches, goarch)) && !newer(c.MinKernel)
}

// excludes tells whether anything is there that a rule does not want.
func (c condition) excludes(caps []string, goarch string) bool {
	for _, unwanted := range c.Caps {
		if slices.Contains(caps, unwanted) {
			return true
		}
	}
	return slices.Contains(c.Arches, goarch) || c.MinKernel != "" && !newer(c.MinKernel)
}

// newer tells whether a kernel version is above the oldest supported one.
func newer(version string) bool {
	var major, minor, ourMajor, ourMinor int
	if n, _ := fmt.Sscanf(strings.TrimSpace(version), "%d.%d", &major, &minor); n < 1 {
		return false
	}
	_, _ = fmt.Sscanf(oldestKernel, "%d.%d", &ourMajor, &ourMinor)
	return major > ourMajor || major == ourMajor && minor > ourMinor
}
