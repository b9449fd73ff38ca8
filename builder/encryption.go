package builder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/copy"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	encconfig "github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/helpers"
)

// Encryption says for whom the layers of an image are encrypted on their way out. The zero value encrypts nothing.
type Encryption struct {
	// Keys are recipients: jwe:FILE (a public key), pkcs7:FILE (a certificate), pgp:ID (a key that gpg has), provider:NAME.
	Keys []string
	// Layers are the indices of those to encrypt, negative ones from the end; none are all.
	Layers []int
}

// encrypt asks a copy for encryption. It fails rather than let something out that is not encrypted.
func (e Encryption) encrypt(co *copy.Options) error {
	if len(e.Keys) == 0 {
		if len(e.Layers) > 0 {
			return errors.New("layers to encrypt are given, but no encryption key")
		}
		return nil
	}
	cc, err := helpers.CreateCryptoConfig(e.Keys, nil)
	if err != nil {
		return fmt.Errorf("reading encryption keys %q, each to be jwe:FILE, pkcs7:FILE or pgp:ID: %w", e.Keys, err)
	}
	if cc.EncryptConfig == nil || len(cc.EncryptConfig.Parameters) == 0 {
		return fmt.Errorf("encryption keys %q cannot be used: for pgp: keys, gpg must be installed", e.Keys)
	}
	layers := append([]int{}, e.Layers...)
	co.OciEncryptConfig, co.OciEncryptLayers = cc.EncryptConfig, &layers
	return nil
}

// decryption reads private keys, FILE[:PASSPHRASE], for encrypted layers. Without keys they are copied as they are, but not
// into local storage, which has to unpack them: there the copy fails for want of a key.
func decryption(keys []string, dest types.ImageReference) (*encconfig.DecryptConfig, error) {
	if len(keys) == 0 {
		if dest.Transport().Name() == istorage.Transport.Name() {
			return &encconfig.DecryptConfig{}, nil
		}
		return nil, nil
	}
	cc, err := helpers.CreateDecryptCryptoConfig(keys, nil)
	if err != nil {
		return nil, fmt.Errorf("reading decryption keys: %w", err)
	}
	return cc.DecryptConfig, nil
}

// keyless words the error of a copy into local storage that lacks a key as the contract does (exact.md §9.1).
func keyless(err error) error {
	if err == nil || !strings.Contains(err.Error(), "missing private key needed for decryption") {
		return err
	}
	return fmt.Errorf("%s: encrypted, the layer does not match config's DiffID: name a key with --decryption-key", strings.TrimRight(err.Error(), ": \n"))
}
