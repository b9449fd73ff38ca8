package builder

import (
	"fmt"
	"runtime"
	"strings"
)

// HostPlatform is the platform this program runs on.
func HostPlatform() Platform {
	p := Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	if p.Arch == "arm64" {
		p.Variant = "v8"
	}
	return p
}

// OrHost is the platform with its empty parts taken from the host. A variant belongs to its architecture.
func (p Platform) OrHost() Platform {
	host := HostPlatform()
	if p.OS == "" {
		p.OS = host.OS
	}
	if p.Arch == "" {
		p.Arch, p.Variant = host.Arch, first(p.Variant, host.Variant)
	}
	return p
}

// String is the platform as os/arch[/variant].
func (p Platform) String() string {
	if p.Variant == "" {
		return p.OS + "/" + p.Arch
	}
	return p.OS + "/" + p.Arch + "/" + p.Variant
}

// systems are the operating systems that stand for themselves where a platform is one word, as there is no such architecture.
const systems = " aix android darwin dragonfly freebsd illumos ios linux macos netbsd openbsd plan9 solaris windows "

// ParsePlatform reads os/arch[/variant], an operating system or an architecture alone, or local. Empty parts mean the host's and stay empty;
// other names of architectures are normalised, a variant that was given is kept and none is invented (exact.md §6.6).
func ParsePlatform(text string) (Platform, error) {
	if text == "local" {
		return Platform{}, nil
	}
	parts := strings.Split(text, "/")
	switch {
	case len(parts) == 1 && strings.Contains(systems, " "+strings.ToLower(text)+" "):
		parts = []string{text, ""}
	case len(parts) == 1:
		parts = []string{"", text}
	}
	if len(parts) > 3 {
		return Platform{}, fmt.Errorf("invalid platform %q: want os/arch[/variant]", text)
	}
	parts = append(parts, "")
	p := Platform{OS: strings.ToLower(parts[0]), Arch: strings.ToLower(parts[1]), Variant: strings.ToLower(parts[2])}
	for _, part := range []string{p.OS, p.Arch, p.Variant} {
		if strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return Platform{}, fmt.Errorf("invalid platform %q: want os/arch[/variant]", text)
		}
	}
	return p.normal(), nil
}

// normal replaces the names that kernels and distributions use for architectures.
func (p Platform) normal() Platform {
	arch, variant := p.Arch, ""
	switch p.Arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "i386", "i486", "i586", "i686":
		arch = "386"
	case "aarch64":
		arch = "arm64"
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	p.Arch = arch
	if p.Variant == "" {
		p.Variant = variant
	}
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	return p
}
