package spec

import (
	"errors"
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Device reads "HOST[:CONTAINER[:rwm]]" into a mount. Devices are bound, not made: it works without privilege as well as
// with, and HOST may be a directory of them. The mount has the option dev, which no other mount has by default.
func Device(text string) (specs.Mount, error) {
	parts := strings.Split(text, ":")
	host, inside, access := parts[0], parts[0], "rwm"
	switch len(parts) {
	case 1:
	case 2:
		if isAccess(parts[1]) {
			access = parts[1]
		} else {
			inside = parts[1]
		}
	case 3:
		inside, access = first(parts[1], host), parts[2]
	default:
		return specs.Mount{}, fmt.Errorf("invalid device %q: want HOST[:CONTAINER[:rwm]]", text)
	}
	if err := checkDevice(host, inside, access); err != nil {
		return specs.Mount{}, fmt.Errorf("invalid device %q: %w", text, err)
	}
	options := []string{"rbind", "rprivate", "nosuid", "noexec", "dev"}
	return specs.Mount{Destination: path.Clean(inside), Type: "bind", Source: path.Clean(host), Options: options}, nil
}

func checkDevice(host, inside, access string) error {
	switch {
	case !path.IsAbs(host) && strings.Contains(host, "="):
		return errors.New("that is no name of a device: want VENDOR/CLASS=NAME")
	case !path.IsAbs(host) || !path.IsAbs(inside):
		return errors.New("both paths must be absolute")
	case path.Clean(inside) == "/":
		return errors.New("the root cannot be a device")
	case !isAccess(access):
		return fmt.Errorf("invalid access %q: want letters of rwm", access)
	case !strings.Contains(access, "r") || !strings.Contains(access, "w"): // a read-only mount does not keep from writing to a device
		return fmt.Errorf("access %q cannot be enforced, as no cgroup filters devices: want rw or rwm", access)
	}
	return nil
}

func isAccess(text string) bool {
	return text != "" && strings.Trim(text, "rwm") == ""
}

func deviceMounts(devices []string) ([]specs.Mount, error) {
	var list []specs.Mount
	for _, d := range devices {
		m, err := Device(d)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}
