package spec

import (
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestSysctls(t *testing.T) {
	t.Parallel()
	all := []string{"net.ipv4.ping_group_range=0 0", "net/core/somaxconn = 5", "kernel.shmmni=1", "fs.mqueue.msg_max=2", "kernel.domainname=d"}
	for _, tt := range []struct {
		in   Input
		want map[string]string
	}{
		{Input{}, map[string]string{"net.ipv4.ping_group_range": "0 0", "net.core.somaxconn": "5", "kernel.shmmni": "1", "fs.mqueue.msg_max": "2", "kernel.domainname": "d"}},
		{Input{HostNetwork: true, HostUTS: true}, map[string]string{"kernel.shmmni": "1", "fs.mqueue.msg_max": "2"}},
		{Input{HostIPC: true, HostUTS: true, Joined: map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "/ns"}}, map[string]string{}},
	} {
		tt.in.Sysctls = all
		got, err := sysctls(tt.in)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v: %v, %v", tt.in, got, err)
		}
	}
	for _, bad := range []string{"vm.swappiness=1", "net.ipv4.x", "net../../kernel/core_pattern=x", "kernel.hostname=h", ""} {
		if got, err := sysctls(Input{Sysctls: []string{bad}}); err == nil {
			t.Errorf("%q was taken: %v", bad, got)
		}
	}
}
