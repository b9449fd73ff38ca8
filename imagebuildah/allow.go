package imagebuildah

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// The entitlements of --allow: what a Dockerfile may ask for beyond what every step has. That of devices may name some: device=NAME.
const (
	allowInsecure    = "security.insecure"
	allowHostNetwork = "network.host"
	allowDevice      = "device"
)

// CheckAllow checks a value of --allow.
func CheckAllow(text string) error {
	if name, ok := strings.CutPrefix(text, allowDevice+"="); ok && name != "" {
		return nil
	}
	if !slices.Contains([]string{allowInsecure, allowHostNetwork, allowDevice}, text) {
		return fmt.Errorf("invalid --allow %q: want %s, %s, %s or %[4]s=NAME", text, allowHostNetwork, allowInsecure, allowDevice)
	}
	return nil
}

// supported refuses what cannot be honoured, or must not be, before anything is done.
func (b *build) supported(cmd instructions.Command) error {
	c, ok := cmd.(*plan.Run)
	if !ok {
		return nil
	}
	for _, f := range c.FlagsUsed {
		if f != "network" && f != "security" && f != "device" {
			return fmt.Errorf("RUN --%s is not supported", f)
		}
	}
	if insecure(c) && !slices.Contains(b.o.Allow, allowInsecure) {
		return fmt.Errorf("%s is not allowed: a Dockerfile cannot widen what its steps may do; --allow %[1]s permits it", allowInsecure)
	}
	if n := b.o.Box.Namespaces.Network; instructions.GetNetwork(c.RunCommand) == instructions.NetworkHost && n != "" && n != "host" && !slices.Contains(b.o.Allow, allowHostNetwork) {
		return fmt.Errorf("%s is not allowed: the network of this build is %s; --allow %[1]s permits it", allowHostNetwork, n)
	}
	for _, d := range instructions.GetDevices(c.RunCommand) {
		if d.Name == "" {
			return errors.New("RUN --device names no device: want VENDOR/CLASS=NAME")
		}
		if !b.allowed(d.Name) {
			return fmt.Errorf("device %s is not allowed: a Dockerfile cannot widen what its steps may do; --allow device=%[1]s permits it", d.Name)
		}
	}
	return nil
}

func insecure(c *plan.Run) bool {
	return instructions.GetSecurity(c.RunCommand) == instructions.SecurityInsecure
}

// allowed tells whether steps may have what a request of RUN --device means: the caller allows all devices, this request, or all of its
// kind, or gives the device to every step already.
func (b *build) allowed(request string) bool {
	kind, _, _ := strings.Cut(request, "=")
	for _, text := range []string{request, kind, kind + "=*"} {
		if slices.Contains(b.o.Allow, allowDevice+"="+text) {
			return true
		}
	}
	return slices.Contains(b.o.Allow, allowDevice) || slices.Contains(b.o.Box.Devices, request)
}

// devices are the names of the devices that a RUN asks for. What is not there is left out, unless it is required (dockerfile.md §5.4).
func (st *stage) devices(c *plan.Run) (names []string, err error) {
	for _, d := range instructions.GetDevices(c.RunCommand) {
		list, err := st.b.s.FindDevices(d.Name, st.b.o.Box.CDIConfigDir)
		if errors.Is(err, builder.ErrNoDevice) && !d.Required {
			continue
		}
		if err != nil {
			return nil, err
		}
		names = append(names, list...)
	}
	return names, nil
}
