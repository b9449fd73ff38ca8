package builder

import (
	"fmt"
	"strings"
)

// ParsePlatform reads os/arch[/variant], an architecture alone, or local. Empty parts mean the host's and stay empty;
// other names of architectures are normalised, a variant that was given is kept and none is invented (exact.md §6.6).
func ParsePlatform(text string) (Platform, error) {
	if text == "local" {
		return Platform{}, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) == 1 {
		parts = []string{"", parts[0]}
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
