package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mattn/go-shellwords"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/bill"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// SBOM says how a software bill of materials is made of a root file system, and where it goes. The zero value makes none (cli.md §8.12).
type SBOM struct {
	// Image is the scanner's; it is pulled as Pull says.
	Image string
	// Commands run in it, one after the other, by its shell, or where it has none as the words they are. {ROOTFS} is the root file system, {CONTEXT} a build context (the command runs once
	// for each, and not at all where there is none), {OUTPUT} the file to write.
	Commands []string
	// Merge says how the documents of several commands become one.
	Merge string
	// Output and PURLOutput are files of the host for the document, and for the package URLs in it; ImageOutput and
	// ImagePURLOutput are paths in the image.
	Output, PURLOutput, ImageOutput, ImagePURLOutput string
	Pull                                             PullOptions
}

// SBOMPreset returns the scanner of a preset, which writes into the image unless told otherwise.
func SBOMPreset(name string) (SBOM, error) {
	tool, format, _ := strings.Cut(name, "-")
	if format == "" {
		format = "cyclonedx"
	}
	o := SBOM{Merge: string(bill.CycloneDX)}
	if format == "spdx" {
		o.Merge = string(bill.SPDX)
	}
	var command string
	switch tool {
	case "syft":
		o.Image, command = "ghcr.io/anchore/syft", "/syft scan -q dir:{IN} --output "+format+"-json={OUTPUT}"
	case "trivy":
		kind := map[string]string{"cyclonedx": "cyclonedx", "spdx": "spdx-json"}[format]
		o.Image, command = "ghcr.io/aquasecurity/trivy", "trivy filesystem -q {IN} --format "+kind+" --output {OUTPUT}"
	}
	if command == "" || format != "cyclonedx" && format != "spdx" {
		return SBOM{}, fmt.Errorf("unknown SBOM preset %q: want syft, syft-cyclonedx, syft-spdx, trivy, trivy-cyclonedx or trivy-spdx", name)
	}
	for _, in := range []string{"{ROOTFS}", "{CONTEXT}"} {
		o.Commands = append(o.Commands, strings.Replace(command, "{IN}", in, 1))
	}
	o.ImageOutput = "/root/buildinfo/content_manifests/sbom-" + format + ".json"
	o.ImagePURLOutput = "/root/buildinfo/content_manifests/sbom-purl.json"
	return o, nil
}

// On tells whether anything is asked for.
func (o SBOM) On() bool { return o.Image != "" || len(o.Commands) > 0 }

// Check fails if what is asked for is incomplete.
func (o SBOM) Check() error {
	asked := o.Output + o.PURLOutput + o.ImageOutput + o.ImagePURLOutput
	switch {
	case !o.On():
		if asked+o.Merge != "" {
			return errors.New("SBOM options need a scanner: --sbom, or --sbom-scanner-image and --sbom-scanner-command")
		}
		return nil
	case o.Image == "":
		return errors.New("an SBOM needs the image of a scanner: --sbom-scanner-image")
	case len(o.Commands) == 0:
		return errors.New("an SBOM needs the command of a scanner: --sbom-scanner-command")
	case asked == "":
		return errors.New("an SBOM needs an output: --sbom-output, --sbom-image-output, --sbom-purl-output or --sbom-image-purl-output")
	case len(o.Commands) > 1 && o.Merge == "":
		return errors.New("several SBOM scanner commands need --sbom-merge-strategy")
	case o.Merge != "":
		return bill.Strategy(o.Merge).Check()
	}
	return nil
}

// AddSBOM scans the root file system that ends in the layer top, and the build contexts. It writes what o wants on the host, adds what it
// wants in the image as a layer, with a history entry, and returns the new top layer.
func (s *Store) AddSBOM(ctx context.Context, cfg *config.Image, top string, contexts []string, o SBOM, out Output) (_ string, err error) {
	w, err := s.NewWorkspace(ctx, top, cfg, WorkspaceOptions{})
	if err != nil {
		return "", err
	}
	files, done, err := w.scan(ctx, contexts, o)
	err = errors.Join(err, w.Discard())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, done()) }()
	if len(files) == 0 {
		return top, nil
	}
	return s.addFiles(ctx, cfg, top, CommitOptions{AddFiles: files, Output: out})
}

// scan makes a bill of materials of the workspace and returns the files for the image, as "source:destination". They are there until the caller
// calls done.
func (w *Workspace) scan(ctx context.Context, contexts []string, o SBOM) (files []string, done func() error, err error) {
	dir, remove, err := w.s.scratch()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("making an SBOM: %w", err), remove())
		}
	}()
	var doc []byte
	err = w.mounted(func(root string) error { doc, err = w.s.scanner(ctx, root, dir, contexts, o); return err })
	if err != nil {
		return nil, nil, err
	}
	purls := []byte(nil)
	if o.PURLOutput+o.ImagePURLOutput != "" {
		if purls, err = bill.PURLs(doc); err != nil {
			return nil, nil, err
		}
	}
	for i, out := range []struct {
		host, image string
		text        []byte
	}{{o.Output, o.ImageOutput, doc}, {o.PURLOutput, o.ImagePURLOutput, purls}} {
		if out.host != "" {
			if err := os.WriteFile(out.host, out.text, 0o644); err != nil {
				return nil, nil, err
			}
		}
		if out.image != "" {
			name := filepath.Join(dir, "add-"+strconv.Itoa(i))
			if err := os.WriteFile(name, out.text, 0o644); err != nil {
				return nil, nil, err
			}
			files = append(files, name+":"+path.Clean("/"+out.image))
		}
	}
	return files, remove, nil
}

// Where a scanner finds things.
const (
	scanRoot    = "/.slipway/rootfs"
	scanContext = "/.slipway/context"
	scanOutput  = "/.slipway/output"
)

// scanner runs the commands, each in the same throw-away root, and returns the merged document.
func (s *Store) scanner(ctx context.Context, root, dir string, contexts []string, o SBOM) ([]byte, error) {
	img, err := s.Pull(ctx, o.Image, o.Pull)
	if err != nil {
		return nil, err
	}
	cfg, err := img.Config(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.NewWorkspace(ctx, img.TopLayer(), cfg, WorkspaceOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Discard()
	out := filepath.Join(dir, "output")
	// The scanner may run as anybody; the directory above is ours alone.
	if err := errors.Join(os.Mkdir(out, 0o777), os.Chmod(out, 0o777)); err != nil {
		return nil, err
	}
	shell := false
	if err := w.inRoot(func(root *rootfs.Root) error { shell = hasShell(root); return nil }); err != nil {
		return nil, err
	}
	stdio := Stdio{Out: report(o.Pull.Report), Err: report(o.Pull.Report)}
	var docs [][]byte
	for _, c := range o.Commands {
		over := []string{""}
		if strings.Contains(c, "{CONTEXT}") {
			over = contexts
		}
		for _, dir := range over {
			name := strconv.Itoa(len(docs))
			argv, err := scanCommand(c, path.Join(scanOutput, name), shell)
			if err != nil {
				return nil, err
			}
			mounts := []Mount{bound(root, scanRoot, true), bound(out, scanOutput, false)}
			if dir != "" {
				mounts = append(mounts, bound(dir, scanContext, true))
			}
			var status *ExitError
			err = w.Run(ctx, argv, RunOptions{Mounts: mounts, Stdio: stdio})
			if errors.As(err, &status) {
				err = errors.New(status.Error()) // its status is not ours
			}
			if err != nil {
				return nil, fmt.Errorf("scanner %q: %w", c, err)
			}
			doc, err := readBounded(filepath.Join(out, name), maxBill)
			if err != nil {
				return nil, fmt.Errorf("scanner %q wrote no {OUTPUT}: %w", c, err)
			}
			docs = append(docs, doc)
		}
	}
	if len(docs) == 0 {
		return nil, errors.New("no command of the scanner ran: all are for build contexts, and there is none")
	}
	return bill.Merge(bill.Strategy(o.Merge), docs)
}

// maxBill bounds one document, in bytes.
const maxBill = 256 << 20

func readBounded(name string, most int64) ([]byte, error) {
	// What the scanner left there is no link of ours, nor a pipe to wait for.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return text, err
}

func bound(source, target string, readOnly bool) Mount {
	return Mount{Type: "bind", Source: source, Target: target, ReadOnly: readOnly, Host: true}
}

// hasShell tells whether a root file system has the shell for commands: scanners' images are often a program and nothing else.
func hasShell(root *rootfs.Root) bool {
	info, err := root.Stat("/bin/sh")
	return err == nil && info.IsRegular()
}

// scanCommand fills in places and gives the text to the shell (exact.md, cli.md §8.12), or splits it into words for want of one.
func scanCommand(text, output string, shell bool) ([]string, error) {
	fill := strings.NewReplacer("{ROOTFS}", scanRoot, "{CONTEXT}", scanContext, "{OUTPUT}", output)
	if shell {
		return []string{"/bin/sh", "-c", fill.Replace(text)}, nil
	}
	argv, err := shellwords.Parse(text)
	if err == nil && len(argv) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("scanner command %q: %w", text, err)
	}
	for i := range argv {
		argv[i] = fill.Replace(argv[i])
	}
	return argv, nil
}
