package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containers/image/v5/signature/sigstore"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sylabs/sif/v2/pkg/sif"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/internal/tree"
)

// command is the shape of a testscript command that cannot be negated.
type command = func(ts *testscript.TestScript, args []string) error

// commands returns the commands that scripts have beside testscript's own.
func (h *Harness) commands() map[string]func(*testscript.TestScript, bool, []string) {
	table := map[string]command{
		"base":     h.loadBase,
		"registry": registry,
		"requests": requests,
		"fault":    fault,
		"serve":    serve,
		"cosign":   cosign,
		"tree":     h.showTree,
		"layers":   h.showLayers,
		"config":   h.showConfig,
		"manifest": h.showManifest,
		"exit":     exit,
		"refused":  refused,
		"capture":  capture,
		"lines":    lines,
		"asuser":   h.asUser,
		"pod":      h.pod,
		"sleeper":  sleeper,
		"clean":    h.clean,
		"fresh":    fresh,
		"sif":      makeSIF,
		"program":  program,
	}
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, run := range table {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			if err := run(ts, args); err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return cmds
}

// loadBase is "base [-bare] [-config FILE] NAME [FILE…]": an image NAME in the store
// with the machine's shell and core utilities (unless -bare) and the files, each
// at its path below $WORK. It is packed without privilege and pulled by slipway.
func (h *Harness) loadBase(ts *testscript.TestScript, args []string) error {
	var t tree.Tree
	config := tree.Config{"Env": []string{"PATH=/usr/bin:/bin"}, "Cmd": []string{"sh"}}
	bare := len(args) > 0 && args[0] == "-bare"
	if bare {
		args = args[1:]
	} else {
		base, err := h.base()
		if err != nil {
			return err
		}
		t = append(t, base...)
	}
	if len(args) > 1 && args[0] == "-config" {
		config = tree.Config{}
		if err := json.Unmarshal([]byte(ts.ReadFile(args[1])), &config); err != nil {
			return err
		}
		args = args[2:]
	}
	if len(args) == 0 {
		return errors.New("usage: base [-bare] [-config FILE] NAME [FILE…]")
	}
	for _, name := range args[1:] {
		t = append(t, tree.Regular(name, ts.ReadFile(name)))
	}
	dir := ts.MkAbs("layouts/" + strings.NewReplacer("/", "-", ":", "-").Replace(args[0]))
	if err := tree.Layout(dir, config, t); err != nil {
		return err
	}
	slipway := func(argv ...string) (string, error) { return output(ts, append([]string{h.Bin}, argv...)...) }
	return load(slipway, dir, args[0])
}

// registry is "registry [-tls] [-tokens] [-login USER:PASSWORD] [NAME]": a registry for the
// rest of the script, its host in $NAME (default REGISTRY). With -tls its
// certificate is $WORK/certs/ca.crt.
func registry(ts *testscript.TestScript, args []string) error {
	var o regtest.Options
	name := "REGISTRY"
	for len(args) > 0 {
		switch {
		case args[0] == "-tls":
			o.TLS = true
		case args[0] == "-tokens":
			o.Tokens = true
		case args[0] == "-login" && len(args) > 1:
			o.User, o.Password, _ = strings.Cut(args[1], ":")
			args = args[1:]
		default:
			name = args[0]
		}
		args = args[1:]
	}
	r := regtest.Start(o)
	ts.Defer(r.Close)
	ts.Setenv(name, r.Host())
	registries(ts)[name] = r
	if !o.TLS {
		return nil
	}
	dir := ts.MkAbs("certs")
	return errorsFirst(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "ca.crt"), r.CA(), 0o644))
}

// cosign is "cosign NAME PASSPHRASE": a pair of sigstore keys in NAME.key and NAME.pub, and the passphrase in NAME.pass.
func cosign(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: cosign NAME PASSPHRASE")
	}
	pair, err := sigstore.GenerateKeyPair([]byte(args[1]))
	if err != nil {
		return err
	}
	return errorsFirst(
		os.WriteFile(ts.MkAbs(args[0]+".key"), pair.PrivateKey, 0o600),
		os.WriteFile(ts.MkAbs(args[0]+".pub"), pair.PublicKey, 0o644),
		os.WriteFile(ts.MkAbs(args[0]+".pass"), []byte(args[1]+"\n"), 0o600))
}

// registryKey finds a script's registries among its values.
type registryKey struct{}

func registries(ts *testscript.TestScript) map[string]*regtest.Registry {
	return ts.Value(registryKey{}).(map[string]*regtest.Registry)
}

// requests is "requests [-reset] [NAME]": prints a registry's counters as JSON.
func requests(ts *testscript.TestScript, args []string) error {
	reset, name := false, "REGISTRY"
	for _, arg := range args {
		if arg == "-reset" {
			reset = true
		} else {
			name = arg
		}
	}
	r := registries(ts)[name]
	if r == nil {
		return fmt.Errorf("no registry %s", name)
	}
	return json.NewEncoder(ts.Stdout()).Encode(r.Stats(reset))
}

// fault is "fault KIND METHOD PATH N [NAME]": the next N requests of METHOD whose path contains PATH go wrong (regtest.Fault).
func fault(ts *testscript.TestScript, args []string) error {
	if len(args) < 4 {
		return errors.New("usage: fault KIND METHOD PATH N [NAME]")
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	r := registries(ts)[append(args, "REGISTRY")[4]]
	if r == nil {
		return errors.New("no such registry")
	}
	return r.Inject(regtest.Fault(args[0]), args[1], args[2], n)
}

// export pushes an image to an OCI layout and reads it back, which checks every
// digest in it.
func (h *Harness) export(ts *testscript.TestScript, args []string) (*tree.Image, error) {
	if len(args) == 0 {
		return nil, errors.New("an image must be named")
	}
	if path, ok := strings.CutPrefix(args[0], "oci:"); ok {
		return tree.Read(ts.MkAbs(path))
	}
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "export-")
	if err != nil {
		return nil, err
	}
	if _, err := output(ts, h.Bin, "push", "-q", args[0], "oci:"+dir+"/layout:latest"); err != nil {
		return nil, err
	}
	return tree.Read(dir + "/layout")
}

// showTree is "tree IMAGE|oci:DIR": the merged files, an entry a line.
func (h *Harness) showTree(ts *testscript.TestScript, args []string) error {
	img, err := h.export(ts, args)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(ts.Stdout(), tree.Merge(img.Layers...))
	return err
}

// showLayers is "layers IMAGE|oci:DIR [N]": the entries of each layer as stored,
// behind "layer I:" lines; with N only that layer, counted from 0, or from the
// end when negative.
func (h *Harness) showLayers(ts *testscript.TestScript, args []string) error {
	img, err := h.export(ts, args)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		for i, layer := range img.Layers {
			fmt.Fprintf(ts.Stdout(), "layer %d:\n%s", i, layer)
		}
		return nil
	}
	n, err := strconv.Atoi(args[1])
	if n < 0 {
		n += len(img.Layers)
	}
	if err != nil || n < 0 || n >= len(img.Layers) {
		return fmt.Errorf("the image has %d layers, no layer %s", len(img.Layers), args[1])
	}
	_, err = fmt.Fprint(ts.Stdout(), img.Layers[n])
	return err
}

// showConfig is "config IMAGE|oci:DIR [.a.b]": the configuration or a member of
// it; strings plain, everything else as JSON on one line, absent as "null".
func (h *Harness) showConfig(ts *testscript.TestScript, args []string) error {
	img, err := h.export(ts, args)
	if err != nil {
		return err
	}
	return member(ts, img.Config, args[1:])
}

// showManifest is "manifest IMAGE|oci:DIR [.a.b]", as config.
func (h *Harness) showManifest(ts *testscript.TestScript, args []string) error {
	img, err := h.export(ts, args)
	if err != nil {
		return err
	}
	return member(ts, img.Manifest, args[1:])
}

// member prints the part of a JSON document that a dotted path names.
func member(ts *testscript.TestScript, document []byte, path []string) error {
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		return err
	}
	if len(path) > 0 {
		for _, key := range strings.Split(strings.TrimPrefix(path[0], "."), ".") {
			switch x := v.(type) {
			case map[string]any:
				v = x[key]
			case []any:
				i, err := strconv.Atoi(key)
				if err != nil || i >= len(x) {
					return fmt.Errorf("no element %s among %d", key, len(x))
				}
				v = x[i]
			default:
				v = nil
			}
		}
	}
	if s, ok := v.(string); ok {
		_, err := fmt.Fprintln(ts.Stdout(), s)
		return err
	}
	enc := json.NewEncoder(ts.Stdout())
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// exit is "exit CODE PROGRAM [ARG…]": the program must end with that code.
func exit(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: exit CODE PROGRAM [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	_, _, got, err := execute(ts, args[1:]...)
	if err == nil && got != want {
		err = fmt.Errorf("exit code %d, want %d", got, want)
	}
	return err
}

// refused is "refused PROGRAM [ARG…]": the program must end with code 125, print
// nothing, and explain itself in one line on stderr that begins with "Error: ".
func refused(ts *testscript.TestScript, args []string) error {
	stdout, stderr, code, err := execute(ts, args...)
	switch {
	case err != nil:
		return err
	case code != 125:
		return fmt.Errorf("exit code %d, want 125", code)
	case stdout != "":
		return fmt.Errorf("stdout is %q, want nothing", stdout)
	case !strings.HasPrefix(stderr, "Error: ") || strings.Count(stderr, "\n") != 1:
		return fmt.Errorf("stderr is %q, want one line that begins with \"Error: \"", stderr)
	}
	return nil
}

// capture is "capture NAME": the last command's output, without blanks around it,
// into $NAME.
func capture(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: capture NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	return nil
}

// lines is "lines N [stdout|stderr]": the last command printed N lines.
func lines(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: lines N [stdout|stderr]")
	}
	stream := "stdout"
	if len(args) > 1 {
		stream = args[1]
	}
	text := ts.ReadFile(stream)
	if got := strings.Count(text, "\n"); strconv.Itoa(got) != args[0] {
		return fmt.Errorf("%s has %d lines, want %s:\n%s", stream, got, args[0], text)
	}
	return nil
}

// asUser is "asuser ranges|single PROGRAM [ARG…]": runs a program as the test
// user with or without subordinate id ranges, who then owns $WORK.
func (h *Harness) asUser(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: asuser ranges|single PROGRAM [ARG…]")
	}
	u, err := user.Lookup("slipway-" + args[0])
	if err != nil {
		return err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errorsFirst(err1, err2, give(ts.Getenv("WORK"), uid, gid)); err != nil {
		return err
	}
	_, err = output(ts, append([]string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups"}, args[1:]...)...)
	return err
}

// give makes a user the owner of what root still owns in a script's directory;
// what the user has made (also through id ranges) stays as it is.
func give(dir string, uid, gid int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "root" && name != "runroot" {
			err = errors.Join(err, filepath.WalkDir(filepath.Join(dir, name), func(path string, _ os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Lchown(path, uid, gid)
			}))
		}
	}
	return errors.Join(err, os.Lchown(dir, uid, gid))
}

// program is "program PACKAGE FILE": the program of a package of this repository, as a file in $WORK.
func program(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: program PACKAGE FILE")
	}
	return compile("./"+args[0], ts.MkAbs(args[1]))
}

// makeSIF is "sif SQUASHFS FILE": puts a file system into a SIF file, for the machine's architecture.
func makeSIF(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: sif SQUASHFS FILE")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := sif.NewDescriptorInput(sif.DataPartition, f, sif.OptPartitionMetadata(sif.FsSquash, sif.PartPrimSys, runtime.GOARCH))
	if err != nil {
		return err
	}
	made, err := sif.CreateContainerAtPath(ts.MkAbs(args[1]), sif.OptCreateWithDescriptors(d))
	if err != nil {
		return err
	}
	return made.UnloadContainer()
}

// fresh is "fresh [FILE…]": removes the storage, whose directory is mounted on itself, and the files.
func fresh(ts *testscript.TestScript, args []string) error {
	Unmount(ts.Getenv("WORK"))
	var errs []error
	for _, name := range append([]string{"root", "runroot"}, args...) {
		errs = append(errs, os.RemoveAll(ts.MkAbs(name)))
	}
	return errors.Join(errs...)
}

// clean is "clean": no container and nothing temporary is left in the store, and
// nothing is mounted below $WORK but storage's own directory.
func (h *Harness) clean(ts *testscript.TestScript, _ []string) error {
	out, err := output(ts, h.Bin, "containers", "-a", "-q")
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("containers are left: %s", out)
	}
	left, err := filepath.Glob(filepath.Join(ts.Getenv("TMPDIR"), "*"))
	if err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], ts.Getenv("WORK")+"/") && !strings.HasSuffix(f[4], "/overlay") {
			left = append(left, f[4])
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, " "))
	}
	return err
}

// sleeper is "sleeper there|gone": waits until the command "sleep $MARK" runs, wherever it was started, or does not any more. Nobody
// has as much patience as that sleep: that it is gone says that it was ended.
func sleeper(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 || args[0] != "there" && args[0] != "gone" {
		return errors.New("usage: sleeper there|gone")
	}
	want := []byte("sleep\x00" + ts.Getenv("MARK") + "\x00")
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		at := slices.IndexFunc(files, func(name string) bool {
			line, err := os.ReadFile(name)
			return err == nil && bytes.Equal(line, want) // it may have ended meanwhile
		})
		switch {
		case (at >= 0) == (args[0] == "there"):
			return nil
		case time.Now().Before(deadline):
		case at >= 0:
			return fmt.Errorf("%s still sleeps", filepath.Dir(files[at]))
		default:
			return errors.New("nobody sleeps")
		}
	}
}

// output runs a program that must succeed, and returns its stdout.
func output(ts *testscript.TestScript, argv ...string) (string, error) {
	stdout, _, code, err := execute(ts, argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d", strings.Join(argv[1:], " "), code)
	}
	return stdout, err
}

// execute runs a program, and returns its output and exit code.
func execute(ts *testscript.TestScript, argv ...string) (stdout, stderr string, code int, err error) {
	err = ts.Exec(argv[0], argv[1:]...)
	if exited := (*exec.ExitError)(nil); errors.As(err, &exited) {
		code, err = exited.ExitCode(), nil
	}
	return ts.ReadFile("stdout"), ts.ReadFile("stderr"), code, err
}
