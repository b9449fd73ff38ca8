package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/signature/signer"
	"github.com/containers/image/v5/signature/sigstore"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/sign"
)

// Signing says how images are signed where they are written. The zero value signs nothing. Lists are signed with each of their images.
type Signing struct {
	// GPGKey is the fingerprint, or another name, of a secret key in the user's GnuPG keyring. Its signatures go where
	// registries.d says, or with an image into local storage.
	GPGKey string
	// SigstoreKey is a file with a private key as cosign makes them. Its signatures go into the registry.
	SigstoreKey string
	// Passphrase unlocks either key; for GPGKey, nil lets GnuPG's agent ask.
	Passphrase []byte
}

func (o Signing) none() bool { return o.GPGKey == "" && o.SigstoreKey == "" }

// gpg returns the OpenPGP key to sign with, nil for none. The error says that there is no such key.
func (o Signing) gpg(ctx context.Context) (*sign.Key, error) {
	if o.GPGKey == "" {
		return nil, nil
	}
	k := &sign.Key{Name: o.GPGKey, Passphrase: o.Passphrase}
	return k, k.Check(ctx)
}

// sigstore returns the sigstore key to sign with, nil for none. The caller closes it.
func (o Signing) sigstore() (*signer.Signer, error) {
	if o.SigstoreKey == "" {
		return nil, nil
	}
	key, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(o.SigstoreKey, o.Passphrase))
	if err != nil {
		return nil, fmt.Errorf("opening the key %s to sign with: %w", o.SigstoreKey, err)
	}
	return key, nil
}

// signed calls write, which puts an image or a list at dest, and signs what is there then. Keys are opened first: nothing
// should be left unsigned because of a misspelt one.
func (s *Store) signed(ctx context.Context, dest types.ImageReference, o PushOptions, write func() (digest.Digest, error)) (digest.Digest, error) {
	if o.Sign.none() {
		return write()
	}
	if dest.Transport().Name() != docker.Transport.Name() {
		return "", fmt.Errorf("cannot sign %s: only images in registries and in local storage can be signed", refText(dest))
	}
	pgp, err := o.Sign.gpg(ctx)
	if err != nil {
		return "", err
	}
	cosign, err := o.Sign.sigstore()
	if err != nil {
		return "", err
	}
	if cosign != nil {
		defer cosign.Close()
	}
	d, err := write()
	if err != nil {
		return "", err
	}
	if pgp != nil {
		err = s.signSimple(ctx, dest, d, o, pgp)
	}
	if err == nil && cosign != nil {
		err = s.retry(ctx, o.Registry, func() error { return s.signSigstore(ctx, dest, d, o, cosign) })
	}
	if err != nil {
		return "", fmt.Errorf("%s was written, but not signed: %w", refText(dest), err)
	}
	return d, nil
}

// signSimple puts an OpenPGP signature beside the ones that the image, and each image of a list, has already.
func (s *Store) signSimple(ctx context.Context, dest types.ImageReference, d digest.Digest, o PushOptions, key *sign.Key) error {
	at, err := atDigest(dest, d)
	if err != nil {
		return err
	}
	return s.readRemote(ctx, at, o.Registry, func(src types.ImageSource, sys *types.SystemContext) (err error) {
		all, err := signable(ctx, src, d, o.ListOnly)
		if err != nil {
			return err
		}
		to, err := dest.NewImageDestination(ctx, sys)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, to.Close()) }()
		for _, m := range all {
			old, err := src.GetSignatures(ctx, &m)
			if err != nil {
				return fmt.Errorf("reading signatures of %s: %w", m, err)
			}
			blob, err := key.Manifest(ctx, m, dest.DockerReference().String(), s.o.Now())
			if err != nil {
				return err
			}
			if err := to.PutSignatures(ctx, withSignature(old, blob), &m); err != nil {
				return fmt.Errorf("writing the signature of %s: %w", m, err)
			}
		}
		return nil
	})
}

// signSigstore signs by a copy of the image onto itself: the library's signers work in copies only. Everything is there
// already, so that only manifests and signatures go over the wire. What is signed was read from here a moment ago, and no policy is asked again.
func (s *Store) signSigstore(ctx context.Context, dest types.ImageReference, d digest.Digest, o PushOptions, key *signer.Signer) error {
	at, err := atDigest(dest, d)
	if err != nil {
		return err
	}
	sys, err := s.system(o.Registry, Platform{})
	if err != nil {
		return err
	}
	if err := s.permit(dest, o.Registry, sys); err != nil {
		return err
	}
	pc, err := signature.NewPolicyContext(acceptAll())
	if err != nil {
		return err
	}
	co := copy.Options{
		SourceCtx: sys, DestinationCtx: sys, Signers: []*signer.Signer{key}, PreserveDigests: true,
		RemoveSignatures: true, // those there are not sent again; they stay
		ReportWriter:     report(o.Report), ImageListSelection: copy.CopyAllImages,
	}
	if o.ListOnly {
		co.ImageListSelection = copy.CopySpecificImages
	}
	_, err = copy.Image(ctx, pc, dest, at, &co)
	return errors.Join(err, pc.Destroy())
}

// signable returns the digests of what a signature is for: an image, or a list and its images.
func signable(ctx context.Context, src types.ImageSource, d digest.Digest, listOnly bool) ([]digest.Digest, error) {
	raw, mediaType, err := image.UnparsedInstance(src, nil).Manifest(ctx)
	if err != nil {
		return nil, err
	}
	all := []digest.Digest{d}
	if !cmanifest.MIMETypeIsMultiImage(mediaType) || listOnly {
		return all, nil
	}
	list, err := cmanifest.ListFromBlob(raw, mediaType)
	if err != nil {
		return nil, err
	}
	return append(all, list.Instances()...), nil
}

// atDigest names what is in a repository by its digest.
func atDigest(ref types.ImageReference, d digest.Digest) (types.ImageReference, error) {
	named, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), d)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

// withSignature adds a signature to a list. One that says the same with the same key is replaced, so that signing again does not pile them up.
func withSignature(old [][]byte, blob []byte) [][]byte {
	type statement struct {
		d         digest.Digest
		name, key string
	}
	of := func(b []byte) (statement, bool) {
		i, err := signature.GetUntrustedSignatureInformationWithoutVerifying(b)
		if err != nil {
			return statement{}, false
		}
		return statement{i.UntrustedDockerManifestDigest, i.UntrustedDockerReference, i.UntrustedShortKeyIdentifier}, true
	}
	mine, _ := of(blob)
	var kept [][]byte
	for _, b := range old {
		if other, ok := of(b); !ok || other != mine {
			kept = append(kept, b)
		}
	}
	return append(kept, blob)
}

// SignImage signs an image in local storage under each of these names (full references).
func (s *Store) SignImage(ctx context.Context, img *Image, names []string, o Signing) error {
	key, err := o.local(ctx, names)
	if err != nil || key == nil {
		return err
	}
	rec, err := s.st.Image(img.ID())
	if err != nil {
		return translate(err)
	}
	raw, _, err := img.Manifest(ctx)
	if err != nil {
		return err
	}
	d, err := cmanifest.Digest(raw)
	if err != nil {
		return err
	}
	list, err := s.signatures(rec, d)
	if err != nil {
		return err
	}
	for _, name := range names {
		blob, err := key.Manifest(ctx, d, name, s.o.Now())
		if err != nil {
			return err
		}
		list = withSignature(list, blob)
	}
	return s.setSignatures(rec, d, list)
}

// CheckLocal fails if images in local storage could not be signed under these names.
func (o Signing) CheckLocal(ctx context.Context, names []string) error {
	_, err := o.local(ctx, names)
	return err
}

// local returns the key for images in local storage, nil for none.
func (o Signing) local(ctx context.Context, names []string) (*sign.Key, error) {
	switch {
	case o.none():
		return nil, nil
	case o.SigstoreKey != "":
		return nil, errors.New("sigstore signatures are kept in registries: sign when pushing")
	case len(names) == 0:
		return nil, errors.New("a signature is for a name: an image without one cannot be signed")
	}
	return o.gpg(ctx)
}

// Where the image library keeps signatures in storage: one after the other, their lengths in the image's metadata (decisions.md §1.11).
const (
	signaturesKey   = "signatures" // of the image's own manifest, for older tools
	signaturePrefix = "signature-"
	sizesKey        = "signatures-sizes"
	oldSizesKey     = "signature-sizes"
)

// signatures returns those of a manifest of an image.
func (s *Store) signatures(rec *storage.Image, d digest.Digest) ([][]byte, error) {
	var meta struct {
		Sizes map[digest.Digest][]int `json:"signatures-sizes"`
	}
	if rec.Metadata != "" {
		if err := json.Unmarshal([]byte(rec.Metadata), &meta); err != nil {
			return nil, fmt.Errorf("metadata of image %s: %w", rec.ID, err)
		}
	}
	if len(meta.Sizes[d]) == 0 {
		return nil, nil
	}
	all, err := s.st.ImageBigData(rec.ID, signaturePrefix+d.Encoded())
	if err != nil {
		return nil, fmt.Errorf("signatures of image %s: %w", rec.ID, err)
	}
	var list [][]byte
	for _, n := range meta.Sizes[d] {
		if n < 0 || n > len(all) {
			return nil, fmt.Errorf("signatures of image %s are damaged", rec.ID)
		}
		list, all = append(list, all[:n]), all[n:]
	}
	return list, nil
}

func (s *Store) setSignatures(rec *storage.Image, d digest.Digest, list [][]byte) error {
	meta, sizes := map[string]json.RawMessage{}, map[digest.Digest][]int{}
	if rec.Metadata != "" {
		if err := json.Unmarshal([]byte(rec.Metadata), &meta); err != nil {
			return fmt.Errorf("metadata of image %s: %w", rec.ID, err)
		}
	}
	if old, ok := meta[sizesKey]; ok {
		if err := json.Unmarshal(old, &sizes); err != nil {
			return fmt.Errorf("metadata of image %s: %w", rec.ID, err)
		}
	}
	own := []int{}
	for _, b := range list {
		own = append(own, len(b))
	}
	sizes[d] = own
	var err, err2 error
	meta[sizesKey], err = json.Marshal(sizes)
	meta[oldSizesKey], err2 = json.Marshal(own)
	text, err3 := json.Marshal(meta)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	blob := bytes.Join(list, nil)
	err = s.st.SetImageBigData(rec.ID, signaturePrefix+d.Encoded(), blob, nil)
	if err == nil {
		err = s.st.SetImageBigData(rec.ID, signaturesKey, blob, nil)
	}
	if err == nil {
		err = s.st.SetMetadata(rec.ID, string(text))
	}
	if err != nil {
		return fmt.Errorf("writing signatures of image %s: %w", rec.ID, err)
	}
	return nil
}
