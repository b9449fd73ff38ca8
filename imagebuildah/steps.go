package imagebuildah

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/imagebuildah/cache"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// run is RUN.
func (st *stage) run(ctx context.Context, c *plan.Run) error {
	o := builder.RunOptions{Env: st.runEnv(), Stdio: builder.Stdio{In: st.b.o.Stdin, Out: st.out(), Err: st.err()}}
	var box []string
	var err error
	if o.Sandbox, box, err = st.sandbox(c); err != nil {
		return err
	}
	mounts, content, untouched, err := st.mounts(ctx, c, &o)
	if err != nil {
		return err
	}
	args, script, err := commandLine(c.RunCommand, shellOf(st.cfg))
	if err != nil {
		return err
	}
	in := &cache.Input{Kind: "RUN", Args: append(args, script), Env: st.visible(), Dir: st.cfg.Config.WorkingDir, User: st.cfg.Config.User,
		Options: append(box, mounts...), Content: content}
	volumes := st.volumes(o)
	if len(volumes) > 0 {
		in.Options = append(in.Options, "volumes are as they were: "+strings.Join(volumes, " "))
	}
	s := st.current
	return st.layerStep(ctx, in, st.scope.History()+strings.Join(args, " "), func(w *builder.Workspace) (err error) {
		if script != "" {
			file, done, serr := st.b.scriptFile(script)
			if serr != nil {
				return serr
			}
			defer func() { err = errors.Join(err, done()) }()
			o.Sandbox.Volumes = append(o.Sandbox.Volumes, strings.ReplaceAll(file, ":", `\:`)+":"+args[len(args)-1]+":ro")
		}
		done, err := st.preserve(ctx, &o, volumes)
		if err != nil {
			return err
		}
		if err := errors.Join(st.command(ctx, w, args, o), done()); err != nil {
			return err
		}
		same, err := untouched()
		s.changed = !same
		return err
	})
}

// sandboxTexts is what of a sandbox can change what a command does, one setting each, without those that are not set. How a command
// is isolated, by what and in which cgroup can not, nor can the host's proxies (decisions.md §2.1).
func sandboxTexts(box builder.Sandbox) []string {
	box.Isolation, box.Runtime, box.RuntimeFlags, box.NoPivot = "", "", nil, false
	box.Security.ProcessLabel, box.Security.MountLabel = "", ""
	box.Limits.CgroupParent, box.Hosts.NoHTTPProxy, box.HooksDirs, box.CDIConfigDir = "", false, nil, ""
	box.Security.CapAdd, box.Security.CapDrop = sorted(box.Security.CapAdd), sorted(box.Security.CapDrop)
	box.Security.Options = profiles(box.Security.Options)
	return settings(nil, "", reflect.ValueOf(box))
}

// profiles puts what seccomp profiles hold in place of their names. What cannot be read is said when a command is run.
func profiles(options []string) []string {
	options = slices.Clone(options)
	for i, o := range options {
		file, ok := strings.CutPrefix(o, "seccomp=")
		if !ok || file == "unconfined" {
			continue
		}
		if text, err := os.ReadFile(file); err == nil {
			options[i] = "seccomp=" + copier.Sum([]string{string(text)}).Encoded()
		}
	}
	return options
}

// sorted is a list whose order and repetitions mean nothing.
func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// settings adds the fields of a value that are set, those of structs by themselves: Security.CapAdd=["NET_RAW"].
func settings(list []string, name string, v reflect.Value) []string {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			list = settings(list, strings.TrimPrefix(name+"."+v.Type().Field(i).Name, "."), v.Field(i))
		}
	case !v.IsZero():
		text, _ := json.Marshal(v.Interface()) // numbers and strings always encode
		list = append(list, name+"="+string(text))
	}
	return list
}

// visible is what decides the result of RUN: the environment without proxies that no ARG declares.
func (st *stage) visible() []string {
	env := slices.Clone(st.scope.Env)
	slices.Sort(env)
	return env
}

// sandbox is what a RUN's own flags say of how it runs, and the texts that stand for that, and for the build's, in its key.
func (st *stage) sandbox(c *plan.Run) (box builder.Sandbox, texts []string, err error) {
	switch instructions.GetNetwork(c.RunCommand) {
	case instructions.NetworkNone:
		box.Namespaces.Network = "none"
	case instructions.NetworkHost:
		box.Namespaces.Network = "host"
	}
	texts = append(sandboxTexts(st.b.o.Box), "network="+string(box.Namespaces.Network))
	if name := st.b.o.Args[argHostname]; name != "" {
		texts = append(texts, "hostname="+name)
	}
	if insecure(c) {
		box.Security.Insecure = true
		texts = append(texts, allowInsecure)
	}
	if box.Devices, err = st.devices(c); err != nil {
		return box, nil, err
	}
	for _, d := range box.Devices {
		texts = append(texts, "device="+d)
	}
	return box, texts, nil
}

// runEnv is the environment of RUN: the scope's, and the proxies given as build arguments, in both spellings of their names
// (dockerfile.md §3.6).
func (st *stage) runEnv() []string {
	env := st.scope.Env
	for k, v := range st.b.o.Args {
		if !expand.IsProxy(k) {
			continue
		}
		for _, name := range []string{strings.ToLower(k), strings.ToUpper(k)} {
			_, given := st.b.o.Args[name]
			if _, ok := expand.Get(env, name); !ok && (name == k || !given) {
				env = expand.Set(env, name, v)
			}
		}
	}
	return env
}

// commandLine is what RUN runs (dockerfile.md §2.8): a here-document alone is the command, or with "#!" a script, which is
// returned beside the command that runs it.
func commandLine(c *instructions.RunCommand, shell []string) (args []string, script string, err error) {
	if !c.PrependShell {
		return c.CmdLine, "", nil
	}
	line := strings.Join(c.CmdLine, " ")
	if len(c.Files) == 0 {
		return append(shell, line), "", nil
	}
	if len(c.Files) == 1 {
		h, err := parser.ParseHeredoc(strings.TrimSpace(line))
		if err == nil && h != nil {
			body := c.Files[0].Data
			if c.Files[0].Chomp {
				body = parser.ChompHeredocContent(body)
			}
			if strings.HasPrefix(body, "#!") {
				return append(shell, "/dev/pipes/"+c.Files[0].Name), body, nil
			}
			return append(shell, body), "", nil
		}
	}
	for _, f := range c.Files {
		line += "\n" + f.Data + f.Name
	}
	return append(shell, line), "", nil
}

// scriptFile writes a script that anyone may run. It is gone after done, or, when we are killed, with the next build.
func (j *job) scriptFile(text string) (file string, done func() error, err error) {
	dir, done, err := j.s.Scratch()
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(dir, "script")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chmod(file, 0o755)); err != nil { //nolint:gosec // a step of any user runs it
		return "", nil, errors.Join(err, done())
	}
	return file, done, nil
}

// workdir is WORKDIR: it makes the directory at once, owned by the user (dockerfile.md §8).
func (st *stage) workdir(ctx context.Context, c *instructions.WorkdirCommand, raw string) error {
	if err := config.Workdir(first(c.Path, "."))(st.cfg); err != nil { // a variable may be empty
		return err
	}
	dir, by := st.cfg.Config.WorkingDir, "/bin/sh -c #(nop) "+raw
	if dir == "/" {
		st.history(config.History{CreatedBy: by, EmptyLayer: true})
		return nil
	}
	in := &cache.Input{Kind: "WORKDIR", Dir: dir, User: st.cfg.Config.User}
	return st.layerStep(ctx, in, by, func(w *builder.Workspace) error { return w.Mkdir(ctx, dir) })
}

// copy is COPY.
func (st *stage) copy(ctx context.Context, c *instructions.CopyCommand) error {
	for _, s := range c.SourcePaths {
		switch {
		case source.IsGit(s):
			return errors.New("source can't be a git ref for COPY")
		case source.IsURL(s):
			return errors.New("source can't be a URL for COPY")
		}
	}
	st.severalToOne("COPY", c.SourcesAndDest, c.Parents)
	o := builder.CopyOptions{Chown: c.Chown, Chmod: c.Chmod, Excludes: c.ExcludePatterns, Parents: c.Parents, Link: c.Link, AllowEmptyWildcard: true}
	if c.From == "" {
		o.IgnoreFile = st.b.o.IgnoreFile
		return st.transfer(ctx, "COPY", c.SourcesAndDest, st.b.files(), o)
	}
	o.KeepOwner = c.Chown == "" // else nobody sees the owner there
	from, err := st.scope.Expand(c.From)
	if err != nil {
		return err
	}
	t, err := st.tree(ctx, "COPY --from=", from)
	if err != nil {
		return err
	}
	if t.context {
		o.KeepOwner, o.IgnoreFile = false, t.ignore
	}
	return st.transfer(ctx, "COPY", c.SourcesAndDest, t, o)
}

// A tree is where files are copied from. One that is sealed cannot change any more: it is that of a layer, or with none an empty one. A
// context's files belong to root and may have an ignore file.
type tree struct {
	sealed  bool
	layer   string
	context bool
	ignore  string
	open    func() (*rootfs.Root, func() error, error)
}

// files are those of the build context.
func (b *build) files() tree {
	return tree{open: func() (*rootfs.Root, func() error, error) { return b.context, func() error { return nil }, nil }}
}

// with calls f with the root of the tree.
func (t tree) with(f func(*rootfs.Root) error) error {
	root, done, err := t.open()
	if err != nil {
		return err
	}
	return errors.Join(f(root), done())
}

// tree finds what a flag names: an earlier stage, else an image.
func (st *stage) tree(ctx context.Context, flag, from string) (tree, error) {
	s := st.b.s
	if n, ok := st.b.replaced(from); ok {
		ref, image := imageContext(n.value)
		if !image {
			return st.b.contextTree(n)
		}
		return st.imageTree(ctx, flag, ref)
	}
	ref := plan.Ref{Name: from}
	if flag == mountFlag {
		ref.Mount = "a mount"
	}
	k, ok, err := st.b.plan.Find(ref, st.def.Index)
	if err != nil {
		return tree{}, err
	}
	if ok {
		if err := st.ensure(ctx, k); err != nil {
			return tree{}, err
		}
		top := st.b.done[k].top
		return tree{sealed: true, layer: top, open: func() (*rootfs.Root, func() error, error) { return s.OpenLayer(ctx, top) }}, nil
	}
	return st.imageTree(ctx, flag, from)
}

// imageTree is an image's files; scratch has none.
func (st *stage) imageTree(ctx context.Context, flag, from string) (tree, error) {
	if from == builder.Scratch {
		return tree{sealed: true, open: func() (*rootfs.Root, func() error, error) { return st.b.s.OpenLayer(ctx, "") }}, nil
	}
	img, err := st.b.pull(ctx, from, st.b.o.Pull)
	if err != nil {
		return tree{}, fmt.Errorf("%s%s: no stage or image found with that name%s: %w", flag, from, st.b.plan.Similar(from), err)
	}
	return tree{sealed: true, layer: img.TopLayer(), open: img.Open}, nil
}

// transfer copies files and here-documents, keyed by their content.
func (st *stage) transfer(ctx context.Context, verb string, what instructions.SourcesAndDest, from tree, o builder.CopyOptions) error {
	content, state, err := st.digest(ctx, what, from, o)
	if err != nil {
		return err
	}
	o.NoDigest = true
	in := &cache.Input{Kind: verb, Args: st.target(what.DestPath), Content: content, Options: copyTexts(o)}
	in.Args = append(in.Args, names(what)...)

	by := fmt.Sprintf("/bin/sh -c #(nop) %s %s in %s ", verb, strings.Join(content, " "), what.DestPath)
	s := st.current
	st.link(s, o)
	return st.layerStep(ctx, in, by, func(w *builder.Workspace) (err error) {
		if o.Chown, err = st.ownerBelow(ctx, s, o.Chown); err != nil {
			return err
		}
		copied, err := st.write(ctx, w, what, from, o)
		s.changed = state != "" && copied != state
		return err
	})
}

// target is where something is copied to, for keys: the working directory counts where it matters.
func (st *stage) target(dest string) []string {
	if path.IsAbs(dest) {
		return []string{dest}
	}
	return []string{dest, st.cfg.Config.WorkingDir}
}

// link notes in a step whether its files are a layer of their own. With one layer for the stage there are no others.
func (st *stage) link(s *step, o builder.CopyOptions) {
	s.link = o.Link && !st.b.o.NoLayers
	s.alone = s.link && builder.NumericOwner(o.Chown)
}

// ownerBelow makes numbers of the names in --chown=USER:GROUP by the files below a layer that has none (dockerfile.md §19.2).
func (st *stage) ownerBelow(ctx context.Context, s *step, chown string) (string, error) {
	if !s.link || s.alone {
		return chown, nil
	}
	return st.b.s.Owner(ctx, st.top, chown)
}

// severalToOne warns of files that may replace each other: without a slash a destination that is no directory yet is a file's
// name, and the last source wins (dockerfile.md §19.5).
func (st *stage) severalToOne(verb string, what instructions.SourcesAndDest, parents bool) {
	dest := path.Base(what.DestPath)
	if parents || len(what.SourcePaths)+len(what.SourceContents) < 2 || strings.HasSuffix(what.DestPath, "/") || dest == "." || dest == ".." {
		return
	}
	st.b.hint(fmt.Sprintf("When using %s with more than one source file, the destination must be a directory and end with a /: "+
		"if %s is not one, each source replaces the one before", verb, what.DestPath))
}

// copyTexts is what of the options counts beside the content, as flags.
func copyTexts(o builder.CopyOptions) (list []string) {
	for flag, value := range map[string]string{"chown": o.Chown, "chmod": o.Chmod} {
		if value != "" {
			list = append(list, "--"+flag+"="+value)
		}
	}
	for flag, set := range map[string]bool{"keep-owner": o.KeepOwner, "unpack": o.Unpack, "parents": o.Parents, "link": o.Link} {
		if set {
			list = append(list, "--"+flag)
		}
	}
	slices.Sort(list)
	return list
}

// names are the last parts of what is copied: they name files in a directory.
func names(what instructions.SourcesAndDest) []string {
	var list []string
	for _, s := range what.SourcePaths {
		list = append(list, path.Base(s))
	}
	for _, c := range what.SourceContents {
		list = append(list, c.Path)
	}
	return list
}

// digest returns the digests of what is copied, and the state of the paths among it unless they are a sealed layer's, which
// do not change.
func (st *stage) digest(ctx context.Context, what instructions.SourcesAndDest, from tree, o builder.CopyOptions) (list []string, state string, err error) {
	if len(what.SourcePaths) > 0 {
		var content string
		if content, state, err = st.contentOf(ctx, what.SourcePaths, from, o); err != nil {
			return nil, "", err
		}
		list = append(list, content)
	}
	for _, c := range what.SourceContents {
		list = append(list, "file:"+copier.Sum([]string{c.Path, c.Data}).Encoded())
	}
	return list, state, nil
}

// contentText names content in keys and in the history; nothing at all, which a pattern may match, has no name.
func contentText(c copier.Content) string {
	if c.Digest == "" {
		return ""
	}
	return c.Kind + c.Digest.Encoded()
}

// contentOf is the digest of what is selected of a tree. Sealed layers do not change: what was found of one is kept, so
// that a build that finds all its steps mounts nothing.
func (st *stage) contentOf(ctx context.Context, paths []string, from tree, o builder.CopyOptions) (text, state string, err error) {
	selected, err := json.Marshal([]any{paths, o})
	if err != nil {
		return "", "", err
	}
	name := copier.Sum([]string{from.layer, string(selected)}).Encoded()
	if text, ok := st.b.s.LayerFact(name); ok && from.sealed {
		return text, "", nil
	}
	if !from.sealed {
		o.Index = st.b.index
	}
	o.List = !st.b.o.NoLayers
	err = from.with(func(root *rootfs.Root) error {
		c, err := builder.ContentDigest(ctx, root, paths, o)
		if err == nil {
			text, state = contentText(c), c.State
			st.b.keepListing(text, c.List)
		}
		return err
	})
	if err == nil && from.sealed {
		return text, "", st.b.s.KeepLayerFact(name, text)
	}
	return text, state, err
}

// write copies paths first, here-documents after them, and returns the state of the paths when they were copied.
func (st *stage) write(ctx context.Context, w *builder.Workspace, what instructions.SourcesAndDest, from tree, o builder.CopyOptions) (copied string, err error) {
	if len(what.SourcePaths) > 0 {
		err := from.with(func(root *rootfs.Root) error {
			c, err := w.Copy(ctx, what.DestPath, source.Dir(root, strings.Join(what.SourcePaths, " "), what.SourcePaths...), o)
			if err == nil {
				copied = c.State
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	for _, c := range what.SourceContents {
		o := o
		o.Unpack, o.KeepOwner = false, false
		if _, err := w.Copy(ctx, what.DestPath, source.Inline(c.Path, []byte(c.Data), time.Unix(0, 0)), o); err != nil {
			return "", err
		}
	}
	return copied, nil
}

// IgnoreFile returns the ignore file of a build: named like the Dockerfile, else the context's (dockerfile.md §7).
func IgnoreFile(dockerfile, dir string) string {
	for _, suffix := range []string{".containerignore", ".dockerignore"} {
		if st, err := os.Stat(dockerfile + suffix); err == nil && st.Mode().IsRegular() {
			return filepath.Clean(dockerfile + suffix)
		}
	}
	return source.IgnoreFile(dir)
}
