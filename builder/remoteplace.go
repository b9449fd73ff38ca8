package builder

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
)

// A cachePlace is where a remote cache is, and what is asked of it.
type cachePlace struct {
	ref    types.ImageReference
	dir    string // of a layout
	mounts bool
	least  bool        // only the steps that the result stands on
	z      Compression // asked for of this place
}

// parseCachePlace reads where a cache is: REPOSITORY, type=registry,ref=REPOSITORY[:TAG], or type=local with src or dest, an OCI
// layout. BuildKit's further keys are taken where they ask for what is done anyway.
func parseCachePlace(text string) (cachePlace, error) {
	var at cachePlace
	kind, ref, dir, tag := "registry", text, "", cacheTag
	if strings.HasPrefix(text, "type=") {
		ref = ""
		for field := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(field, "=")
			switch k {
			case "type":
				kind = v
			case "ref":
				ref = v
			case "src", "dest":
				dir = v
			case "tag":
				tag = v
			case "mode":
				if v != "max" && v != "min" {
					return at, fmt.Errorf("build cache %q: mode: want min or max, not %q", text, v)
				}
				at.least = v == "min"
			case "compression":
				at.z.Format = v
			case "compression-level":
				level, err := strconv.Atoi(v)
				if err != nil {
					return at, fmt.Errorf("build cache %q: compression-level: want a number, not %q", text, v)
				}
				at.z.Level = &level
			case "mounts", "ignore-error", "image-manifest", "oci-mediatypes", "force-compression":
				yes, err := strconv.ParseBool(v)
				if err != nil {
					return at, fmt.Errorf("build cache %q: %s: want true or false, not %q", text, k, v)
				}
				if k == "mounts" {
					at.mounts = yes
				} else if !yes && k != "force-compression" { // all is compressed alike in any case
					return at, fmt.Errorf("build cache %q: %s can not be switched off", text, k)
				}
			default:
				return at, fmt.Errorf("build cache %q: unknown key %q", text, k)
			}
		}
	}
	err := at.z.Check()
	if err != nil {
		return at, fmt.Errorf("build cache %q: %w", text, err)
	}
	switch {
	case kind == "local" && dir != "" && ref == "":
		at.dir = dir
		at.ref, err = parseTransport("oci:" + dir + ":" + tag)
		return at, err
	case kind != "registry" || ref == "" || dir != "":
		return at, fmt.Errorf("build cache %q: want REPOSITORY, type=registry,ref=REPOSITORY or type=local,src=DIR", text)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	switch {
	case err != nil:
		return at, fmt.Errorf("build cache %q: %w", text, err)
	case reference.IsNameOnly(named):
		at.ref, err = parseTransport("docker://" + named.Name() + ":" + tag)
	case ref == text:
		err = fmt.Errorf("build cache %q: repository must contain neither a tag nor digest", text)
	default:
		at.ref, err = parseTransport("docker://" + named.String())
	}
	return at, err
}
