package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
)

// buildTags are the values of --tag: names in local storage, and other places.
type buildTags struct{ all, places []string }

// local are the names in local storage.
func (t *buildTags) local(s *builder.Store, list string) (names []string, err error) {
	for _, tag := range t.all {
		remote, err := builder.Destination(tag)
		if err != nil {
			return nil, fmt.Errorf("tag %w", err)
		}
		if remote {
			t.places = append(t.places, tag)
		} else {
			names = append(names, tag)
		}
	}
	full, err := s.FullNames(names)
	if err != nil || list == "" {
		return names, err
	}
	own, err := s.FullNames([]string{list})
	if err != nil {
		return nil, err
	}
	for _, name := range full {
		if name == own[0] {
			return nil, errors.New("the same name must not be specified for both '--tag' and '--manifest'")
		}
	}
	return names, nil
}

// names finds out what the result is to be called.
func (f *buildFlags) names(ctx context.Context, s *builder.Store) (err error) {
	if f.o.Tags, err = f.tags.local(s, f.o.Manifest); err != nil {
		return err
	}
	f.o.Shown = append(f.tags.all, "")[0]
	if len(f.tags.places) > 0 && len(f.o.Tags) == 0 {
		return nil // signed where it is pushed
	}
	full, err := s.FullNames(f.o.Tags)
	if err == nil {
		err = f.sign.CheckLocal(ctx, full)
	}
	return err
}

// signed signs the images in local storage under their names.
func (f *buildFlags) signed(ctx context.Context, s *builder.Store, res *imagebuildah.Result) error {
	full, err := s.FullNames(f.o.Tags)
	if err != nil || len(full) == 0 {
		return err
	}
	for _, img := range res.Images {
		if err := s.SignImage(ctx, img, full, f.sign); err != nil {
			return err
		}
	}
	return nil
}

// checkResults refuses what can not be done with the result, before anything is built.
func (f *buildFlags) checkResults(outputs []*output) error {
	if f.push && len(f.tags.all) == 0 {
		return errors.New("--push needs a --tag, which says where to")
	}
	files, dirs := f.destinations(outputs)
	for _, file := range files {
		if err := writable(file[0], file[1]); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := writableDir(dir[0], dir[1]); err != nil {
			return err
		}
	}
	for _, place := range f.tags.places {
		rest, ok := strings.CutPrefix(place, "docker-archive:")
		name, _, _ := strings.Cut(rest, ":")
		if st, err := os.Stat(name); ok && err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			return fmt.Errorf("--tag %s: docker-archive doesn't support modifying existing images: remove %s, or use -o type=docker,dest=%s", place, name, name)
		}
	}
	if !f.several() {
		return nil
	}
	for _, id := range []string{f.iidfile, f.rawIIDFile} {
		if id != "" {
			return fmt.Errorf("building multiple images, but iidfile %q can only be used to store one image ID", id)
		}
	}
	if f.metadata != "" {
		return fmt.Errorf("building multiple images, but metadata file %q can only be used to store information about one image", f.metadata)
	}
	for _, o := range outputs {
		if o.kind == "tar" && o.split != nil && !*o.split {
			return errors.New("platform-split=false puts the files of several platforms together with type=local only")
		}
		if o.mode == "delete" && o.split != nil && !*o.split {
			return errors.New("mode=delete leaves the files of one platform only: leave out platform-split=false")
		}
		if o.kind == "docker" {
			return errors.New("type=docker holds one image: build for one platform, or use type=oci")
		}
	}
	return nil
}

// destinations are the files and directories of this machine that are to be written, each with the flag that names it.
func (f *buildFlags) destinations(outputs []*output) (files, dirs [][2]string) {
	files = [][2]string{{"--iidfile", f.iidfile}, {"--iidfile-raw", f.rawIIDFile}, {"--metadata-file", f.metadata}}
	for _, o := range outputs {
		switch {
		case o.dest == "" || o.dest == "-":
		case o.kind == "local" || !o.tar:
			dirs = append(dirs, [2]string{"--output", o.dest})
		default:
			files = append(files, [2]string{"--output", o.dest})
		}
	}
	for _, place := range f.tags.places {
		transport, rest, _ := strings.Cut(place, ":")
		name, _, _ := strings.Cut(rest, ":")
		switch transport {
		case "dir":
			dirs = append(dirs, [2]string{"--tag", rest})
		case "oci":
			dirs = append(dirs, [2]string{"--tag", name})
		case "oci-archive", "docker-archive":
			files = append(files, [2]string{"--tag", name})
		}
	}
	return files, dirs
}

// several tells whether the result is a list of images.
func (f *buildFlags) several() bool { return f.o.List || len(f.o.Platforms) > 1 }

// deliver writes what was built to all the places that are not local storage, and says what it is.
func (f *buildFlags) deliver(ctx context.Context, s *builder.Store, res *imagebuildah.Result, outputs []*output) error {
	if err := f.signed(ctx, s, res); err != nil {
		return err
	}
	r := newBuilt(res, f.several())
	for _, o := range outputs {
		if err := o.write(ctx, s, r); err != nil {
			return err
		}
	}
	po := builder.PushOptions{Registry: f.o.Pull.Registry, Compression: f.o.Output.Compression, Sign: f.sign, Report: f.o.Pull.Report}
	if t := f.o.Output.Timestamp; t != nil {
		po.Time = t
	} else {
		po.Time = f.o.Output.Epoch
	}
	for _, place := range f.tags.places {
		if err := pushTo(ctx, s, r.id, place, po); err != nil {
			return err
		}
	}
	if f.push {
		for _, name := range f.o.Tags {
			if err := pushTo(ctx, s, r.id, "docker://"+strings.TrimPrefix(name, "containers-storage:"), po); err != nil {
				return err
			}
		}
	}
	if f.metadata != "" {
		if err := writeMetadata(ctx, f.metadata, r.images[0], pushedByDigest(outputs)); err != nil {
			return err
		}
	}
	if f.elsewhere(outputs) && !f.known(r) {
		if err := s.RemoveUnnamed(ctx, r.id); err != nil { // it was asked for elsewhere; the steps stay in the cache
			return err
		}
	}
	return f.result(r)
}

// pushedByDigest is the manifest of what was pushed without a name, nil if nothing was.
func pushedByDigest(outputs []*output) []byte {
	for _, o := range outputs {
		if o.byDigest {
			return o.pushed
		}
	}
	return nil
}

// elsewhere tells whether the result is wanted in other places than local storage only.
func (f *buildFlags) elsewhere(outputs []*output) bool {
	other := len(f.tags.places) > 0 || slices.ContainsFunc(outputs, func(o *output) bool { return o.kind == "cacheonly" })
	return other && len(f.o.Tags) == 0 && f.o.Manifest == ""
}

// known tells whether the result, which an unchanged build makes again, or an image in it was there before: somebody may have its ID.
func (f *buildFlags) known(r *built) bool {
	return f.had[r.id] || slices.ContainsFunc(r.images, func(i *builder.Image) bool { return f.had[i.ID()] })
}

func imagesOf(s *builder.Store) (map[string]bool, error) {
	list, err := s.Images()
	ids := make(map[string]bool, len(list))
	for _, i := range list {
		ids[i.ID()] = true
	}
	return ids, err
}

// pushTo copies an image to another place. Layers are left as they are unless it is a registry or the flags say otherwise
// (decisions.md §3.12).
func pushTo(ctx context.Context, s *builder.Store, id, place string, o builder.PushOptions) error {
	c := &o.Compression
	c.Disable = c.Disable || !strings.HasPrefix(place, "docker://") && !c.Enable && c.Format == "" && !c.Force
	_, err := s.Push(ctx, id, place, o)
	return err
}

// built is the result of a build.
type built struct {
	id     string
	images []*builder.Image // by platform
	index  *builder.Index   // of several platforms
}

func newBuilt(res *imagebuildah.Result, several bool) *built {
	if several {
		return &built{res.Index.ID(), res.Images, res.Index}
	}
	return &built{res.Images[0].ID(), res.Images, nil}
}

// names are those of what was built.
func (r *built) names() []string {
	if r.index != nil {
		return r.index.Names()
	}
	return r.images[0].Names()
}

// result prints the result's ID, or writes it where the flags say.
func (f *buildFlags) result(r *built) error {
	if f.iidfile == "" && f.rawIIDFile == "" {
		if f.silent {
			return nil
		}
		_, err := fmt.Fprintln(f.g.out, r.id)
		return err
	}
	var errs []error
	if f.iidfile != "" {
		errs = append(errs, writeFile(f.iidfile, "sha256:"+r.id))
	}
	if f.rawIIDFile != "" {
		errs = append(errs, writeFile(f.rawIIDFile, r.id))
	}
	return errors.Join(errs...)
}
