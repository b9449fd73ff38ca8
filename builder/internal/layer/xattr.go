package layer

import (
	"bytes"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/idtools"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A use says what happens to an extended attribute.
type use int

const (
	useNone    use = iota // stays where it is and is not looked at
	useLayer              // belongs to the layer
	useOpaque             // marks a directory that hides the one below
	useRecord             // holds owner and device where they cannot be set
	useShadow             // stands for one that could not be set
	useForeign            // means that the directory is not a plain difference
	useStrip              // overlay's bookkeeping, or what a tar cannot say
)

// useOf sorts attributes by name. What a container writes to user.* is its own: only the prefix that the kernel uses
// for this store's mounts is believed to be overlay's, and records count only in a store that has them.
func useOf(name string, recorded, userNS bool) use {
	overlay := "trusted.overlay."
	if userNS {
		overlay = "user.overlay."
	}
	switch {
	case name == "security.capability":
		return useLayer
	case name == idtools.ContainersOverrideXattr && recorded:
		return useRecord
	case recorded && isShadow(name):
		return useShadow
	case name == overlay+"opaque":
		return useOpaque
	case name == overlay+"redirect", name == overlay+"metacopy":
		return useForeign
	case strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "user.containers."), strings.HasPrefix(name, "user.slipway."),
		strings.HasPrefix(name, "trusted."), strings.HasPrefix(name, "system.posix_acl_"):
		return useStrip
	case strings.HasPrefix(name, "user."):
		return useLayer
	}
	return useNone
}

func isShadow(name string) bool {
	_, ok := rootfs.ShadowOf(name)
	return ok
}

func sameAttrs(a, b []xattr) bool {
	return slices.EqualFunc(a, b, func(a, b xattr) bool { return a.name == b.name && bytes.Equal(a.value, b.value) })
}
