package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-build/slipway/tests/harness"
)

// TestDockerRegistry: Debian's registry with TLS and a password. login, push twice, mount, inspect, retag, lists, pull, deletion.
func TestDockerRegistry(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root", "docker-registry")
	s := shared.NewStore(t)
	shared.Base(s, "base")
	host, certs := startSecured(t, s, "joe", "secret")
	auth := filepath.Join(s.Dir, "auth.json")
	if _, stderr, err := s.Try(shared.Bin, "push", "-q", "--cert-dir", certs, "--authfile", auth+".none", "base", "docker://"+host+"/app:1"); err == nil {
		t.Error("a push without credentials worked")
	} else {
		contains(t, stderr, "credential file is not accessible")
	}
	if _, stderr, err := s.Try(shared.Bin, "login", "--cert-dir", certs, "--authfile", auth, "-u", "joe", "-p", "wrong", host); err == nil {
		t.Error("a wrong password was accepted")
	} else {
		contains(t, stderr, "invalid username/password")
	}
	contains(t, s.Slipway("login", "--cert-dir", certs, "--authfile", auth, "-u", "joe", "-p", "secret", host), "Login Succeeded!")
	flags := func(command string, args ...string) string {
		return s.Slipway(append([]string{command, "--cert-dir", certs, "--authfile", auth}, args...)...)
	}
	digest := func(name string) string {
		out := s.Run("sha256sum", name)
		sum, _, _ := strings.Cut(out, " ")
		return sum
	}
	first, second := filepath.Join(s.Dir, "first"), filepath.Join(s.Dir, "second")
	flags("push", "-q", "--digestfile", first, "base", "docker://"+host+"/app:1")
	flags("push", "-q", "--digestfile", second, "base", "docker://"+host+"/other/app:1")
	if digest(first) != digest(second) {
		t.Error("the mounted image has another digest")
	}
	contains(t, flags("inspect", "docker://"+host+"/app:1"), `"Layers"`)
	flags("tag", "docker://"+host+"/app:1", "docker://"+host+"/app:2")
	if flags("inspect", "--raw", "docker://"+host+"/app:1") != flags("inspect", "--raw", "docker://"+host+"/app:2") {
		t.Error("the new tag names another manifest")
	}

	s.Slipway("manifest", "create", "list", "base")
	s.Slipway("manifest", "push", "-q", "--cert-dir", certs, "--authfile", auth, "list", "docker://"+host+"/app:list")
	contains(t, s.Slipway("manifest", "inspect", "--cert-dir", certs, "--authfile", auth, "docker://"+host+"/app:list"), "image.index")

	id := s.Slipway("inspect", "--type", "image", "--format", "{{.FromImageID}}", "base")
	s.Slipway("rmi", "-a", "-f")
	if got := flags("pull", "-q", host+"/app:list"); got != id {
		t.Errorf("pulled %s, pushed %s", got, id)
	}
	flags("rmi", "docker://"+host+"/app:list")
	if _, _, err := s.Try(shared.Bin, "inspect", "--retry", "0", "--cert-dir", certs, "--authfile", auth, "docker://"+host+"/app:list"); err == nil {
		t.Error("the deleted tag is still there")
	}
}

// startSecured runs Debian's docker-registry with TLS and one user, and returns its host and the directory of its certificate.
func startSecured(t *testing.T, s *harness.Store, user, password string) (host, certs string) {
	t.Helper()
	certs = filepath.Join(s.Dir, "certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	certificate(t, filepath.Join(certs, "ca.crt"), filepath.Join(s.Dir, "registry.pem"))
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	store(t, filepath.Join(s.Dir, "htpasswd"), user+":"+string(hash)+"\n")
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = probe.Addr().String()
	probe.Close()
	config := filepath.Join(s.Dir, "secured.yml")
	store(t, config, fmt.Sprintf(`version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %[1]s/secured}
  delete: {enabled: true}
http:
  addr: %[2]s
  tls: {certificate: %[1]s/certs/ca.crt, key: %[1]s/registry.pem}
auth:
  htpasswd: {realm: test, path: %[1]s/htpasswd}
`, s.Dir, host))
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Both only fail when it is gone already.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", host); err == nil {
			conn.Close()
			return host, certs
		} else if time.Now().After(deadline) {
			t.Fatal("docker-registry does not answer")
		}
	}
}

// certificate writes a certificate for 127.0.0.1 that signs itself, and its key.
func certificate(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	store(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	store(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})))
}

func store(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
