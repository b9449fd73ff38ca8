package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

// signFlags binds how images are signed.
func signFlags(fs *pflag.FlagSet, g *globals, o *builder.Signing) func() error {
	var file string
	fs.StringVar(&o.GPGKey, "sign-by", "", "sign with the OpenPGP key of that `fingerprint`, which gpg has")
	fs.StringVar(&o.SigstoreKey, "sign-by-sigstore-private-key", "", "sign with the sigstore key in `file`")
	fs.StringVar(&file, "sign-passphrase-file", "", "`file` with the passphrase of the key to sign with")
	return func() (err error) {
		switch {
		case o.GPGKey != "" && o.SigstoreKey != "":
			err = errors.New("--sign-by and --sign-by-sigstore-private-key cannot be used together: sign with one key, then push again with the other")
		case o.GPGKey == "" && o.SigstoreKey == "":
			if file != "" {
				err = errors.New("--sign-passphrase-file needs --sign-by or --sign-by-sigstore-private-key")
			}
		case file != "":
			o.Passphrase, err = passphrase(file)
		case o.SigstoreKey != "":
			if g.in == nil || !term.IsTerminal(int(g.in.Fd())) {
				return errors.New("the passphrase of the sigstore key is needed: use --sign-passphrase-file")
			}
			var text string
			text, err = g.askPassword()
			o.Passphrase = []byte(text)
		}
		return err
	}
}

// passphrase reads the first line of a file.
func passphrase(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading --sign-passphrase-file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<12))
	if err != nil {
		return nil, fmt.Errorf("reading --sign-passphrase-file: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// sbomFlags binds what is made a list of, and where that goes (cli.md §8.12).
func sbomFlags(fs *pflag.FlagSet, o *builder.SBOM) func() error {
	var preset string
	var given builder.SBOM
	fs.StringVar(&preset, "sbom", "", "make an SBOM with the scanner of a `preset`: syft, trivy, each with -cyclonedx or -spdx")
	fs.StringVar(&given.Image, "sbom-scanner-image", "", "make an SBOM with a scanner in `image`")
	fs.StringArrayVar(&given.Commands, "sbom-scanner-command", nil, "`command` of the scanner, with {ROOTFS}, {CONTEXT} and {OUTPUT}")
	fs.StringVar(&given.Merge, "sbom-merge-strategy", "", "`how` the results of several commands become one: cat, merge-cyclonedx-by-component-name-and-version, merge-spdx-by-package-name-and-versioninfo")
	fs.StringVar(&given.Output, "sbom-output", "", "write the SBOM to `file`")
	fs.StringVar(&given.ImageOutput, "sbom-image-output", "", "put the SBOM into the image at `path`")
	fs.StringVar(&given.PURLOutput, "sbom-purl-output", "", "write the package URLs of the SBOM to `file`")
	fs.StringVar(&given.ImagePURLOutput, "sbom-image-purl-output", "", "put the package URLs of the SBOM into the image at `path`")
	return func() (err error) {
		pull := o.Pull
		if preset == "false" { // as docker build has it, where scripts want no attestation
			preset = ""
		}
		if *o = given; preset != "" {
			if *o, err = builder.SBOMPreset(preset); err != nil {
				return err
			}
			override(&o.Image, given.Image)
			override(&o.Merge, given.Merge)
			if len(given.Commands) > 0 {
				o.Commands = given.Commands
			}
			if given.Output+given.ImageOutput+given.PURLOutput+given.ImagePURLOutput != "" {
				o.Output, o.ImageOutput, o.PURLOutput, o.ImagePURLOutput = given.Output, given.ImageOutput, given.PURLOutput, given.ImagePURLOutput
			}
		}
		o.Pull = pull
		return o.Check()
	}
}

func override(p *string, value string) {
	if value != "" {
		*p = value
	}
}

// encryptFlags binds for whom layers are encrypted.
func encryptFlags(fs *pflag.FlagSet, e *builder.Encryption) {
	fs.StringSliceVar(&e.Keys, "encryption-key", nil, "encrypt layers for a `key`: jwe:FILE, pkcs7:FILE or pgp:ID")
	fs.IntSliceVar(&e.Layers, "encrypt-layer", nil, "encrypt the layer with that `index` only, negative from the end")
}

// compressionFlags binds how layers are compressed on their way out.
func compressionFlags(fs *pflag.FlagSet, c *builder.Compression) func() error {
	level := fs.Int("compression-level", 0, "compression `level`: 1 to 9 of gzip, 1 to 20 of zstd")
	fs.StringVar(&c.Format, "compression-format", "", "compression `format`: gzip, zstd or zstd:chunked")
	fs.BoolVar(&c.Force, "force-compression", false, "recompress layers that have another compression")
	fs.BoolVarP(&c.Disable, "disable-compression", "D", false, "leave layers uncompressed where the destination permits")
	return func() error {
		if fs.Changed("compression-level") {
			c.Level = level
		}
		if fs.Changed("disable-compression") {
			c.Enable = !c.Disable
			if c.Disable && (c.Format != "" || c.Force) {
				return errors.New("--disable-compression and --compression-format or --force-compression cannot be used together")
			}
		}
		return c.Check()
	}
}

// reproFlags binds what makes results repeatable (cli.md §8.11). named, if it is not nil, gets an epoch that is no number but names
// something whose time is meant.
func reproFlags(fs *pflag.FlagSet, g *globals, o *builder.Output, named *string) func() error {
	var stamp, epoch string
	fs.StringVar(&stamp, "timestamp", "", "`seconds` that all times are set to")
	fs.StringVar(&epoch, "source-date-epoch", "", "`seconds` that the image's own times are set to (default $SOURCE_DATE_EPOCH)")
	fs.BoolVar(&o.Rewrite, "rewrite-timestamp", false, "with --source-date-epoch: clamp times in layers to it")
	fs.BoolVar(&o.OmitHistory, "omit-history", false, "write no history")
	created := fs.Bool("created-annotation", true, "set the annotation org.opencontainers.image.created")
	fs.Var(&optionalBool{&o.IdentityLabel}, "identity-label", "set the label io.buildah.version")
	fs.Lookup("identity-label").NoOptDefVal = "true"
	return func() (err error) {
		o.NoCreatedAnnotation = !*created
		if stamp != "" && epoch != "" && named != nil { // commit counts more options (oldTimeFlags)
			return errors.New("timestamp and source-date-epoch would be ambiguous if allowed together")
		}
		if stamp != "" {
			if o.Timestamp, err = seconds(stamp); err != nil {
				err = fmt.Errorf("--timestamp: %w", err)
			}
			return err
		}
		if text := first(epoch, g.env.plain("SOURCE_DATE_EPOCH")); named != nil {
			if o.Epoch, err = seconds(text); err != nil {
				*named = text
			}
			return nil
		}
		if epoch != "" {
			if o.Epoch, err = seconds(epoch); err != nil {
				err = fmt.Errorf("--source-date-epoch: %w", err)
			}
			return err
		}
		o.Epoch, err = g.env.epoch()
		return err
	}
}

func parseFormat(text string) (builder.Format, error) {
	switch text {
	case "", "oci":
		return builder.FormatOCI, nil
	case "docker":
		return builder.FormatDocker, nil
	}
	return "", fmt.Errorf("unrecognized image type %q", text)
}

// warnAnnotations says that manifests of a format have no place for annotations that were asked for (containers.md §12).
func (g *globals) warnAnnotations(f builder.Format, given []string) {
	if f == builder.FormatDocker && len(given) > 0 {
		g.store.Log.Warn(fmt.Sprintf("annotations are not supported for docker image format, %s will be ignored. Must use `oci` format", strings.Join(given, ", ")))
	}
}
