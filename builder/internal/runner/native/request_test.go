package native

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/internal/spec"
)

// TestLabels looks at what process 1 is told where the kernel has security modules: file systems in memory get the
// container's label, the command its own label and profile.
func TestLabels(t *testing.T) {
	s, err := spec.Generate(spec.Input{Argv: []string{"x"}, SELinux: true, AppArmor: true, ProcessLabel: "u:r:p:s0:c1,c2", MountLabel: "u:r:f:s0:c1,c2",
		SecurityOpts: []string{"apparmor=profile"}})
	if err != nil {
		t.Fatal(err)
	}
	req, _, err := request(s)
	if err != nil {
		t.Fatal(err)
	}
	var attrs []string
	for _, a := range req.Attributes {
		attrs = append(attrs, a.Name+" "+a.Value)
	}
	got := strings.Join(attrs, "; ")
	if !strings.HasPrefix(got, "keycreate u:r:p:s0:c1,c2; exec u:r:p:s0:c1,c2; ") || !strings.HasSuffix(got, "exec exec profile") {
		t.Error(got)
	}
	if req.MountLabel != "u:r:f:s0:c1,c2" {
		t.Error(req.MountLabel)
	}
	for _, m := range req.Mounts {
		labelled := strings.Contains(m.Data, `context="u:r:f:s0:c1,c2"`)
		if want := m.Type == "tmpfs" || m.Type == "devpts" || m.Type == "mqueue"; labelled != want {
			t.Errorf("%s of type %s: %q", m.Target, m.Type, m.Data)
		}
	}
}
