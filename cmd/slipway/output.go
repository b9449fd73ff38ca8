package main

import (
	"bytes"
	"context"
	"encoding/csv"
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
	mode             string // of a directory: copy or delete
	tar, push        bool
	split            *bool  // a directory for each platform; nil is where there are several
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
	// annotations are those of images, entries those of their descriptors in a list, by platform; the zero one is all. index are the list's.
	annotations, entries map[builder.Platform][]string
	index                map[string]string
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
	what, platform, closed := strings.Cut(strings.TrimSuffix(what, "]"), "[")
	var p builder.Platform
	if closed {
		var err error
		if p, err = builder.ParsePlatform(platform); err != nil {
			return err
		}
		p = p.OrHost()
	}
	switch {
	case name == "" || closed != strings.Contains(where, "]."):
	case what == "" || what == "-manifest":
		i.annotations = noted(i.annotations, p, name+"="+v)
		return nil
	case what == "-manifest-descriptor":
		i.entries = noted(i.entries, p, name+"="+v)
		return nil
	case what == "-index" && !closed:
		if i.index == nil {
			i.index = map[string]string{}
		}
		i.index[name] = v
		return nil
	}
	return fmt.Errorf("annotation%s: want annotation[-manifest[-descriptor]][[PLATFORM]].NAME or annotation-index.NAME", where)
}

func noted(m map[builder.Platform][]string, p builder.Platform, kv string) map[builder.Platform][]string {
	if m == nil {
		m = map[builder.Platform][]string{}
	}
	m[p] = append(m[p], kv)
	return m
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
	f.o.Annotations = append(f.o.Annotations, i.annotations[builder.Platform{}]...)
	delete(i.annotations, builder.Platform{})
	if err := f.annotate(&f.o.PlatformAnnotations, i.annotations); err != nil {
		return err
	}
	if err := f.annotate(&f.o.EntryAnnotations, i.entries); err != nil {
		return err
	}
	if list := f.several() || f.o.Manifest != ""; !list && len(i.index) > 0 {
		return errors.New("annotation-index needs a list: build for several platforms, or with --manifest")
	} else if !list && len(i.entries) > 0 {
		return errors.New("annotation-manifest-descriptor needs a list, where the descriptor is: build for several platforms, or with --manifest")
	}
	if f.o.IndexAnnotations == nil {
		f.o.IndexAnnotations = map[string]string{}
	}
	maps.Copy(f.o.IndexAnnotations, i.index)
	return nil
}

// annotate adds the annotations of platforms to those that other outputs asked for. The zero platform is all.
func (f *buildFlags) annotate(to *map[builder.Platform][]string, more map[builder.Platform][]string) error {
	for p, list := range more {
		if p != (builder.Platform{}) && !slices.ContainsFunc(f.o.Platforms, func(q builder.Platform) bool { return q.OrHost() == p }) {
			return fmt.Errorf("annotation for %s: this build has no image of that platform", p)
		}
		for _, kv := range list {
			*to = noted(*to, p, kv)
		}
	}
	return nil
}

// parseOutputs reads the values of --output. One that goes to standard output leaves nothing else there.
func (f *buildFlags) parseOutputs() ([]*output, error) {
	var list []*output
	for _, text := range f.outputs {
		o, err := parseOutput(text)
		if err != nil {
			return nil, fmt.Errorf("invalid build output option %q: %w", text, err)
		}
		if err := f.apply(o.image); err != nil {
			return nil, fmt.Errorf("invalid build output option %q: %w", text, err)
		}
		o.to, o.registry, o.report = f.g.out, f.o.Pull.Registry, f.o.Pull.Report
		if out, ok := f.g.out.(*os.File); o.dest == "-" && ok && term.IsTerminal(int(out.Fd())) {
			return nil, fmt.Errorf("invalid build output option %q: standard output is a terminal", text)
		}
		if o.dest == "-" {
			if f.silent {
				return nil, fmt.Errorf("invalid build output option %q: only one result can go to standard output", text)
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
	if text != "" && !strings.Contains(text, "=") {
		return &output{kind: "local", dest: text}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, err
	}
	o := &output{tar: true}
	for _, field := range fields {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", field)
		}
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
		case "platform-split":
			var split bool
			split, err = strconv.ParseBool(v)
			o.split = &split
		case "mode":
			if v != "copy" && v != "delete" {
				return nil, fmt.Errorf("unknown mode %q: want copy or delete", v)
			}
			o.mode = v
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
				err = fmt.Errorf("unrecognized key %q", k)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return o, o.check()
}

func (o *output) check() error {
	if o.split != nil && o.kind != "local" && o.kind != "tar" {
		return errors.New("platform-split is for type=local and type=tar")
	}
	if err := o.checkKeys(); err != nil {
		return err
	}
	if abs, err := filepath.EvalSymlinks(o.dest); o.mode == "delete" && err == nil && filepath.Clean(abs) == "/" {
		return errors.New("mode=delete would remove everything from /")
	}
	switch o.kind {
	case "":
		return errors.New("missing required key \"type\"")
	case "local", "tar", "oci", "docker":
		if o.dest == "" {
			return fmt.Errorf("missing required key \"dest\": type=%s needs dest=PATH", o.kind)
		}
		if o.dest == "-" && (o.kind == "local" || !o.tar) {
			return fmt.Errorf("type=%s can not be written to standard output", o.kind)
		}
		if !o.tar && strings.Contains(o.dest, ":") {
			return fmt.Errorf("the name of a directory of type=%s can not have a colon", o.kind)
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

// checkKeys refuses keys that mean nothing to the type.
func (o *output) checkKeys() error {
	files := o.kind == "local" || o.kind == "tar"
	switch {
	case o.mode != "" && o.kind != "local":
		return errors.New("mode is for type=local")
	case !o.tar && o.kind != "" && o.kind != "oci" && o.kind != "docker":
		return errors.New("tar=false is for type=oci and type=docker")
	case files && o.name != "":
		return fmt.Errorf("type=%s takes no name: it is no image", o.kind)
	case (files || o.kind == "cacheonly") && o.compression != builder.Compression{}:
		return fmt.Errorf("type=%s takes no compression: it is no image", o.kind)
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
		if !o.splits(r) {
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

// splits tells whether each platform has a directory of its own.
func (o *output) splits(r *built) bool {
	if o.split == nil {
		return r.index != nil
	}
	return *o.split
}

// local writes the files of the image, or of those for several platforms each into a directory of its own. With mode=delete nothing
// else is there afterwards.
func (o *output) local(ctx context.Context, s *builder.Store, r *built) error {
	var dirs []string
	for _, img := range r.images {
		dest := o.dest
		if o.splits(r) {
			name, err := img.PlatformDir(ctx)
			if err != nil {
				return err
			}
			dest = filepath.Join(dest, name)
			dirs = append(dirs, name)
		}
		if err := s.ExportDir(ctx, img, dest, o.mode == "delete"); err != nil {
			return err
		}
	}
	if o.mode != "delete" || len(dirs) == 0 {
		return nil
	}
	entries, err := os.ReadDir(o.dest)
	for _, e := range entries {
		if err == nil && !slices.Contains(dirs, e.Name()) {
			err = os.RemoveAll(filepath.Join(o.dest, e.Name()))
		}
	}
	return err
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
	if !o.streamed() {
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
	return o.toFile(func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// streamed tells whether an archive is written beside its place and copied: to standard output, over a Docker archive, to which the
// library would add the image, and where the name has a colon, which in a transport's text ends the path.
func (o *output) streamed() bool {
	_, err := os.Lstat(o.dest)
	return o.dest == "-" || strings.Contains(o.dest, ":") || o.kind == "docker" && o.tar && err == nil
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
