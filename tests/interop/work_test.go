package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

// work does in a Debian container what images are made of, through each runner and each network: packages from a repository, a compiler,
// users, a daemon that leaves the foreground and must not outlive the command.
func work(t *testing.T, s *harness.Store) {
	harness.Need(t, "ip")
	write(t, s, "repository/README", "made by makeRepository\n")
	s.Slipway("from", "--name", "work", "debian-base")
	s.Slipway("run", "-v", s.Dir+"/repository:/repository", "work", "--", "sh", "-ec", makeRepository)
	write(t, s, "work.sh", realWork)
	s.Slipway("copy", "-q", "work", s.Dir+"/work.sh", "/work.sh")
	s.Slipway("commit", "-q", "--rm", "work", "work-base")
	place := newWorld(t, s.Dir+"/repository")
	place.runners(t, s, networks(t, s))
	if have(t, "users") && have(t, "newuidmap") {
		layout := publicLayout(s, "work-base")
		t.Run("user", func(t *testing.T) {
			s := shared.NewUserStore(t, "ranges")
			s.Slipway("tag", s.Slipway("pull", "-q", "oci:"+layout+":latest"), "work-base")
			all := [][]string{{"host"}}
			if have(t, "pasta") {
				all = append(all, []string{"pasta"})
				s.As = append(tunnel(s), s.As...)
			}
			place.runners(t, s, all)
		})
	}
}

// tunnel is what a command is started with so that an ordinary user may use /dev/net/tun, as on most hosts.
func tunnel(s *harness.Store) []string {
	node := s.Dir + "/tun"
	s.Run("mknod", "-m", "666", node, "c", "10", "200")
	return []string{"unshare", "-m", "sh", "-ec", "mount --bind " + node + ` /dev/net/tun; exec "$@"`, "sh"}
}

// runners does the work with each runner and each of the networks.
func (w world) runners(t *testing.T, s *harness.Store, all [][]string) {
	for _, runner := range [][]string{{"native"}, {"chroot"}, {"oci", "--runtime", "crun"}, {"oci", "--runtime", "runc"}} {
		name := runner[len(runner)-1]
		if runner[0] == "oci" && !have(t, name) {
			continue
		}
		for _, network := range all {
			if name == "chroot" && network[0] != "host" {
				continue // it has no other
			}
			t.Run(name+"/"+network[0], func(t *testing.T) {
				w.work(s.With(t), slices.Concat([]string{"--isolation"}, runner, []string{"--network"}, network))
			})
		}
	}
}

// networks are the values of --network that can be had here, each with what it needs.
func networks(t *testing.T, s *harness.Store) [][]string {
	t.Helper()
	list := [][]string{{"host"}}
	if have(t, "pasta") {
		list = append(list, []string{"pasta"})
	}
	if have(t, "netavark") {
		write(t, s, "netavark.conf", "[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \""+s.Dir+"/networks\"\ndefault_subnet = \"10.96.0.0/16\"\n")
		s.Extra = append(s.Extra, "CONTAINERS_CONF="+s.Dir+"/netavark.conf")
		list = append(list, []string{"podman"})
	}
	if have(t, "cni") {
		write(t, s, "cni/isolated.conflist", `{"cniVersion":"0.4.0","name":"isolated","plugins":[{"type":"ptp","ipMasq":true,`+
			`"ipam":{"type":"host-local","subnet":"10.99.0.0/24","dataDir":"`+s.Dir+`/leases","routes":[{"dst":"0.0.0.0/0"}]}},{"type":"firewall"}]}`)
		list = append(list, []string{"isolated", "--cni-config-dir", s.Dir + "/cni"})
	}
	return list
}

// have tells whether a condition holds; it must when all are required.
func have(t *testing.T, condition string) bool {
	t.Helper()
	ok, err := harness.Condition(condition)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// makeRepository makes a package repository of a package of Debian's, and the container use that one only.
const makeRepository = `
cd /repository
apt-get update -qq
apt-get download -q hello >/dev/null
for deb in *.deb; do
	dpkg-deb -f $deb
	echo Filename: ./$deb
	echo Size: $(stat -c %s $deb)
	echo SHA256: $(sha256sum $deb | cut -d' ' -f1)
	echo
done >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb [trusted=yes] http://host.containers.internal:8000 ./' >/etc/apt/sources.list
`

// A world is a network of the test's own, so that nothing here changes the machine's or depends on it: with a way out that leads nowhere,
// and the repository on this side of it.
type world struct{ pid int }

func newWorld(t *testing.T, repository string) world {
	t.Helper()
	const text = `set -e
ip link set lo up
ip link add out type veth peer name nowhere
ip address add 198.51.100.2/24 dev out
ip link set out up
ip link set nowhere up
ip route add default via 198.51.100.1
cd "$1"
exec perl -MIO::Socket -e "$2"
`
	const serve = `$SIG{PIPE} = "IGNORE"; $| = 1;
$s = IO::Socket::INET->new(LocalPort => 8000, Listen => 99, ReuseAddr => 1) or die $!;
print "ready\n";
while ($c = $s->accept) {
	my $name = "";
	while (<$c>) { $name = $1 if m{^GET /(?:\./)?([\w.+-]+) }; last if /^\r?\n?$/ }
	my ($status, $body) = ("404 Not Found", "");
	if (open F, "<", $name) { local $/; $body = <F>; $status = "200 OK" }
	print $c "HTTP/1.1 $status\r\nConnection: close\r\nContent-Length: ", length($body), "\r\n\r\n$body";
	close $c;
}`
	cmd := exec.Command("sh", "-c", text, "sh", repository, serve)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it serves until then
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("a world of its own: %q, %v", line, err)
	}
	return world{cmd.Process.Pid}
}

// enter is a command line in the world.
func (w world) enter(argv ...string) []string {
	return append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(w.pid) + "/ns/net"}, argv...)
}

// work works in a container, and looks at what is left of it.
func (w world) work(s *harness.Store, flags []string) {
	t := s.T
	c := s.Slipway("from", "work-base")
	sum := fnv.New32a()
	fmt.Fprint(sum, s.Dir, flags)
	mark := fmt.Sprintf("9%09d", sum.Sum32()%1e9) // nobody else sleeps as long
	argv := slices.Concat(w.enter(s.Argv("run")...), flags, []string{c, "--", "sh", "-e", "/work.sh", mark})
	const want = "Hello, world!\ncompiled\nbuilder 4321 4321\ndaemon runs"
	if out := s.Run(argv...); out != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
	if who := sleeping(mark); who != "" {
		t.Errorf("the daemon has outlived the command: %s", who)
	}
	if got := s.Run(w.enter("sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | xargs")...); got != "lo nowhere out" {
		t.Errorf("interfaces are left: %s", got)
	}
	if left, err := filepath.Glob(s.Dir + "/leases/*/1*"); len(left) != 0 || err != nil {
		t.Errorf("addresses are in use still: %s, %v", left, err)
	}
	got := s.Slipway("run", c, "--", "sh", "-c", "getent passwd builder; stat -c %U:%a /home/builder/out; probe")
	if want := "builder:x:4321:4321::/home/builder:/bin/sh\nbuilder:640\ncompiled"; got != want {
		t.Errorf("what was made: %q, want %q", got, want)
	}
	s.Slipway("rm", c)
}

// realWork is done in the container.
const realWork = `
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends hello >/dev/null 2>&1
hello
printf '#include <stdio.h>\nint main(void) { return puts("compiled") < 0; }\n' >/tmp/probe.c
gcc -O2 -o /usr/local/bin/probe /tmp/probe.c
probe
useradd --uid 4321 --user-group --create-home --shell /bin/sh builder
su builder -c 'umask 027; cd; id -un; id -u; id -g; echo written >out' | xargs
start-stop-daemon --start --background --make-pidfile --pidfile /run/daemon.pid --exec /bin/sleep -- $1
until grep -q sleep /proc/$(cat /run/daemon.pid)/cmdline; do sleep 0.05; done
echo daemon runs
`

// sleeping is the process that sleeps so long, empty for none.
func sleeping(mark string) string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range files {
		if line, err := os.ReadFile(name); err == nil && bytes.HasSuffix(line, []byte("sleep\x00"+mark+"\x00")) {
			return filepath.Dir(name)
		}
	}
	return ""
}
