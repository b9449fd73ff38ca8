package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

// An output is one value of --output: where the result is written beside local storage (cli.md §8.16).
type output struct {
	kind, dest, name string
	tar, push        bool
	byDigest         bool   // pushed without a tag
	pushed           []byte // the manifest that is in the registry then
	compression      builder.Compression
	image            imageKeys
	to               io.Writer // where dest is "-"
	registry         builder.Registry
	report           io.Writer
}

// imageKeys are those of an output that say what image is built: the one in local storage is the one that is written.
type imageKeys struct {
	docker, rewrite bool
	annotations     []string
	platforms       map[builder.Platform][]string // annotations
	index           map[string]string             // annotations of the list
}

// key reads one key, and tells whether it is one of these.
func (i *imageKeys) key(k, v string) (ok bool, err error) {
	if where, ok := strings.CutPrefix(k, "annotation"); ok {
		return true, i.annotation(where, v)
	}
	var yes bool
	switch k {
	case "oci-mediatypes":
		yes, err = strconv.ParseBool(v)
		i.docker = !yes
	case "rewrite-timestamp":
		i.rewrite, err = strconv.ParseBool(v)
	default:
		return false, nil
	}
	return true, err
}

// annotation reads annotation-WHAT[PLATFORM].NAME without its first word.
func (i *imageKeys) annotation(where, v string) error {
	what, name, _ := strings.Cut(where, ".")
	what, platform, ofPlatform := strings.Cut(what, "[")
	if platform, ok := strings.CutSuffix(platform, "]"); ofPlatform && ok && name != "" && (what == "" || what == "-manifest") {
		p, err := builder.ParsePlatform(platform)
		if err != nil {
			return err
		}
		if i.platforms == nil {
			i.platforms = map[builder.Platform][]string{}
		}
		i.platforms[p.OrHost()] = append(i.platforms[p.OrHost()], name+"="+v)
		return nil
	}
	switch {
	case ofPlatform || name == "":
	case what == "" || what == "-manifest":
		i.annotations = append(i.annotations, name+"="+v)
		return nil
	case what == "-index":
		if i.index == nil {
			i.index = map[string]string{}
		}
		i.index[name] = v
		return nil
	}
	return fmt.Errorf("annotation%s: want annotation[-manifest][[PLATFORM]].NAME or annotation-index.NAME", where)
}

// apply has the image built as an output asks for.
func (f *buildFlags) apply(i imageKeys) error {
	if i.docker {
		if f.format == "oci" {
			return errors.New("oci-mediatypes=false contradicts the format oci")
		}
		f.o.Output.Format = builder.FormatDocker
	}
	f.o.Output.Rewrite = f.o.Output.Rewrite || i.rewrite
	f.o.Annotations = append(f.o.Annotations, i.annotations...)
	for p, list := range i.platforms {
		if !slices.ContainsFunc(f.o.Platforms, func(q builder.Platform) bool { return q.OrHost() == p }) {
			return fmt.Errorf("annotation for %s: this build has no image of that platform", p)
		}
		if f.o.PlatformAnnotations == nil {
			f.o.PlatformAnnotations = map[builder.Platform][]string{}
		}
		f.o.PlatformAnnotations[p] = append(f.o.PlatformAnnotations[p], list...)
	}
	if len(i.index) == 0 {
		return nil
	}
	if !f.several() && f.o.Manifest == "" {
		return errors.New("annotation-index needs a list: build for several platforms, or with --manifest")
	}
	if f.o.IndexAnnotations == nil {
		f.o.IndexAnnotations = map[string]string{}
	}
	maps.Copy(f.o.IndexAnnotations, i.index)
	return nil
}

// parseOutputs reads the values of --output. One that goes to standard output leaves nothing else there.
func (f *buildFlags) parseOutputs() ([]*output, error) {
	var list []*output
	for _, text := range f.outputs {
		o, err := parseOutput(text)
		if err != nil {
			return nil, fmt.Errorf("invalid --output %q: %w", text, err)
		}
		if err := f.apply(o.image); err != nil {
			return nil, fmt.Errorf("invalid --output %q: %w", text, err)
		}
		o.to, o.registry, o.report = f.g.out, f.o.Pull.Registry, f.o.Pull.Report
		if out, ok := f.g.out.(*os.File); o.dest == "-" && ok && term.IsTerminal(int(out.Fd())) {
			return nil, fmt.Errorf("invalid --output %q: standard output is a terminal", text)
		}
		if o.dest == "-" {
			if f.silent {
				return nil, fmt.Errorf("invalid --output %q: only one result can go to standard output", text)
			}
			f.silent, f.o.Quiet, f.o.Out, o.report = true, true, f.g.err, nil
		}
		list = append(list, o)
	}
	return list, nil
}

func parseOutput(text string) (*output, error) {
	if text == "-" {
		return &output{kind: "tar", dest: "-"}, nil
	}
	if !strings.Contains(text, "=") {
		return &output{kind: "local", dest: text}, nil
	}
	o := &output{tar: true}
	for field := range strings.SplitSeq(text, ",") {
		k, v, _ := strings.Cut(field, "=")
		var err error
		switch k {
		case "type":
			o.kind = v
		case "dest":
			o.dest = v
		case "name":
			o.name = v
		case "tar":
			o.tar, err = strconv.ParseBool(v)
		case "push":
			o.push, err = strconv.ParseBool(v)
		case "compression":
			o.compression.Format = v
			if v == "uncompressed" {
				o.compression = builder.Compression{Disable: true}
			}
		case "compression-level":
			var level int
			level, err = strconv.Atoi(v)
			o.compression.Level = &level
		case "force-compression":
			o.compression.Force, err = strconv.ParseBool(v)
		case "push-by-digest":
			o.byDigest, err = strconv.ParseBool(v)
		default:
			var ok bool
			if ok, err = o.image.key(k, v); !ok {
				err = fmt.Errorf("unknown key %q", k)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return o, o.check()
}

func (o *output) check() error {
	switch o.kind {
	case "local", "tar", "oci", "docker":
		if o.dest == "" {
			return fmt.Errorf("type=%s needs dest=PATH", o.kind)
		}
		if o.dest == "-" && (o.kind == "local" || !o.tar) {
			return fmt.Errorf("type=%s can not be written to standard output", o.kind)
		}
		if o.push {
			return fmt.Errorf("push is for type=image and type=registry")
		}
	case "cacheonly":
		if o.dest != "" || o.push || o.name != "" {
			return errors.New("type=cacheonly takes nothing else: the result is what the next build finds")
		}
	case "image", "registry":
		o.push = o.push || o.kind == "registry"
		if o.push && o.name == "" || o.dest != "" {
			return fmt.Errorf("type=%s takes name=NAME", o.kind)
		}
		if o.byDigest {
			return o.checkDigest()
		}
	default:
		return fmt.Errorf("unknown type %q: want local, tar, oci, docker, image, registry or cacheonly", o.kind)
	}
	return nil
}

// checkDigest refuses what contradicts push-by-digest.
func (o *output) checkDigest() error {
	if !o.push {
		return errors.New("push-by-digest needs push=true or type=registry")
	}
	full, ok := builder.RegistryName(o.name)
	if !ok {
		return fmt.Errorf("push-by-digest: %s is no repository of a registry", o.name)
	}
	if strings.ContainsAny(path.Base(o.name), ":@") {
		return fmt.Errorf("push-by-digest: %s has a tag or digest, which would not be used", full)
	}
	return nil
}

// write writes what was built to where the output says.
func (o *output) write(ctx context.Context, s *builder.Store, r *built) error {
	switch o.kind {
	case "local":
		return o.local(ctx, s, r)
	case "tar":
		if r.index == nil {
			return o.toFile(func(w io.Writer) error { return s.ExportTar(ctx, r.images[0], w) })
		}
		return o.toFile(func(w io.Writer) error { return s.ExportTars(ctx, r.images, w) })
	case "oci", "docker":
		return o.archive(ctx, s, r)
	}
	if o.name != "" && !o.byDigest {
		if err := s.Tag(r.id, o.name); err != nil {
			return err
		}
	}
	if !o.push {
		return nil
	}
	place := "docker://" + o.name
	if o.byDigest {
		place += builder.WithoutTag
	}
	po := builder.PushOptions{Registry: o.registry, Compression: o.compression, Report: o.report, Written: func(m []byte) { o.pushed = m }}
	d, err := s.Push(ctx, r.id, place, po)
	if err == nil && o.byDigest && o.report != nil {
		fmt.Fprintf(o.report, "Pushed %s@%s\n", o.name, d)
	}
	return err
}

// local writes the files of the image, or of those for several platforms each into a directory of its own.
func (o *output) local(ctx context.Context, s *builder.Store, r *built) error {
	for _, img := range r.images {
		dest := o.dest
		if r.index != nil {
			name, err := img.PlatformDir(ctx)
			if err != nil {
				return err
			}
			dest = filepath.Join(dest, name)
		}
		if err := s.ExportDir(ctx, img, dest); err != nil {
			return err
		}
	}
	return nil
}

// archive writes an OCI or Docker archive, or with tar=false a directory.
func (o *output) archive(ctx context.Context, s *builder.Store, r *built) error {
	transport := o.kind + "-archive:"
	if !o.tar {
		transport = map[string]string{"oci": "oci:", "docker": "dir:"}[o.kind]
	}
	name := o.name
	if names := r.names(); name == "" && len(names) > 0 {
		name = names[0]
	}
	if name != "" && transport != "dir:" {
		name = ":" + name
	}
	opts := builder.PushOptions{Registry: o.registry, Compression: o.compression, Report: o.report}
	if o.dest != "-" {
		if transport == "dir:" {
			name = ""
		}
		_, err := s.Push(ctx, r.id, transport+o.dest+name, opts)
		return err
	}
	dir, done, err := s.Scratch()
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	file := dir + "/archive"
	if _, err := s.Push(ctx, r.id, transport+file+name, opts); err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(o.to, in)
	return err
}

// toFile calls f with the destination, which is there afterwards only if f succeeds.
func (o *output) toFile(f func(io.Writer) error) (err error) {
	if o.dest == "-" {
		return f(o.to)
	}
	out, err := os.Create(o.dest)
	if err != nil {
		return err
	}
	err = f(out)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if st, serr := os.Lstat(o.dest); err != nil && serr == nil && st.Mode().IsRegular() {
		_ = os.Remove(o.dest) // half an archive is none; a device, a pipe or a link is the caller's
	}
	return err
}

// writeMetadata writes --metadata-file (cli.md §11.6). pushed is the manifest of what has no other name than its digest in a registry, where
// layers are compressed; it is empty for the image in local storage.
func writeMetadata(ctx context.Context, file string, img *builder.Image, pushed []byte) error {
	done, err := img.Committed(ctx)
	if len(pushed) > 0 {
		done, err = builder.DescribeManifest(pushed)
	}
	if err != nil {
		return err
	}
	line, err := done.Metadata()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, append(line, '\n'), "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}
