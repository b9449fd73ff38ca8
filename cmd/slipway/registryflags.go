package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
)

// registryFlags binds how registries are reached.
func registryFlags(fs *pflag.FlagSet, g *globals, r *builder.Registry) {
	fs.StringVar(&r.AuthFile, "authfile", g.env.plain("REGISTRY_AUTH_FILE"), "`file` with registry credentials")
	fs.StringVar(&r.CertDir, "cert-dir", "", "`dir`ectory of TLS certificates")
	fs.Func("creds", "`user[:password]` for the registry", func(text string) (err error) {
		r.Creds, err = g.completeCreds(text)
		return err
	})
	fs.Var(&optionalBool{&r.TLSVerify}, "tls-verify", "require HTTPS and verify certificates")
	fs.Lookup("tls-verify").NoOptDefVal = "true"
	fs.StringVar(&r.PolicyFile, "signature-policy", "", "signature policy `file`")
	_ = fs.MarkHidden("signature-policy")
}

// blobCacheFlag binds the directory that keeps blobs of images, for those who pull into ever new storage.
func blobCacheFlag(fs *pflag.FlagSet, r *builder.Registry) {
	fs.StringVar(&r.BlobCache, "blob-cache", "", "`dir`ectory that keeps blobs of images for later pulls and pushes")
	_ = fs.MarkHidden("blob-cache")
}

// decryptFlag binds the keys for encrypted layers.
func decryptFlag(fs *pflag.FlagSet, r *builder.Registry) {
	fs.StringSliceVar(&r.DecryptionKeys, "decryption-key", nil, "`key[:passphrase]` that decrypts layers")
}

// completeCreds asks for the password that text, USER[:PASSWORD], lacks.
func (g *globals) completeCreds(text string) (string, error) {
	if strings.Contains(text, ":") {
		return text, nil
	}
	password, err := g.askPassword()
	return text + ":" + password, err
}

func retryFlags(fs *pflag.FlagSet, r *builder.Registry) {
	r.Retries = builder.RetriesDefault
	fs.Func("retry", "further `attempts` after a network failure (default containers.conf's, or 3)", func(text string) error {
		n, err := strconv.Atoi(text)
		if err == nil && n < 0 {
			err = errors.New("want 0 or more")
		}
		if err == nil {
			r.Retries = n
		}
		return err
	})
	fs.Var(&delay{&r.RetryDelay}, "retry-delay", "`time` between attempts; growing when not given")
}

// pullFlags binds when images are pulled, with the former spellings.
func pullFlags(fs *pflag.FlagSet, p *builder.PullPolicy) func() error {
	parsedFlag(fs, p, "pull", "pull `policy`: missing, always, newer, never", pullPolicy)
	fs.Lookup("pull").NoOptDefVal = "always"
	always := fs.Bool("pull-always", false, "same as --pull=always")
	never := fs.Bool("pull-never", false, "same as --pull=never")
	_, _ = fs.MarkHidden("pull-always"), fs.MarkHidden("pull-never")
	return func() error {
		given := 0
		for _, name := range []string{"pull", "pull-always", "pull-never"} {
			if fs.Changed(name) {
				given++
			}
		}
		switch {
		case given > 1:
			return errors.New("can only set one of 'pull' or 'pull-always' or 'pull-never'")
		case *always:
			*p = builder.PullAlways
		case *never:
			*p = builder.PullNever
		}
		return nil
	}
}

// pullPolicy reads the value of --pull and --policy.
func pullPolicy(text string) (builder.PullPolicy, error) {
	switch strings.ToLower(text) {
	case "missing", "ifmissing", "notpresent":
		return builder.PullMissing, nil
	case "always", "true":
		return builder.PullAlways, nil
	case "newer", "ifnewer":
		return builder.PullNewer, nil
	case "never", "false":
		return builder.PullNever, nil
	}
	return 0, fmt.Errorf("unsupported pull policy %q", text)
}

// platformFlags binds which platform of an image is meant.
func platformFlags(fs *pflag.FlagSet, p *builder.Platform) func() error {
	platforms := platformsFlags(fs, "`os/arch[/variant]` of the image")
	return func() error {
		list, err := platforms()
		if err != nil {
			return err
		}
		if len(list) > 1 {
			logrus.Warnf("only the first platform, %s, is used", list[0].OrHost())
		}
		*p = list[0]
		return nil
	}
}

// platformsFlags binds flags that can name several platforms; what they return has at least one, the zero one for the host.
func platformsFlags(fs *pflag.FlagSet, help string) func() ([]builder.Platform, error) {
	var texts []string
	var one builder.Platform
	fs.StringSliceVar(&texts, "platform", nil, help)
	fs.StringVar(&one.OS, "os", "", "operating `system` of the image")
	fs.StringVar(&one.Arch, "arch", "", "`architecture` of the image")
	fs.StringVar(&one.Variant, "variant", "", "architecture `variant` of the image")
	return func() (list []builder.Platform, err error) {
		if len(texts) == 0 {
			texts = []string{one.OS + "/" + one.Arch + "/" + one.Variant}
		} else if one != (builder.Platform{}) {
			return nil, errors.New("invalid --platform may not be used with --os, --arch, or --variant")
		}
		for _, text := range texts {
			p, err := builder.ParsePlatform(text)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(list, func(q builder.Platform) bool { return p.OrHost() == q.OrHost() }) {
				list = append(list, p)
			}
		}
		return list, nil
	}
}
