package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/bundle"
)

func newKeyringCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "keyring",
		Short: "Make and rotate the keys that devices trust",
		Long: `A keyring says which keys sign bundles, and how many of them must. Devices get
version 1 at the factory. To change keys later:

  abupdate keyring create --from K1.json --keyring K2.json
  abupdate keyring add|revoke --keyring K2.json …
  abupdate keyring sign --keyring K2.json --previous K1.json --keyrings keyrings.json --key KEY.pem…
  abupdate bundle create --keyrings keyrings.json …

Devices learn the new keyring from the next bundle; they may miss any number of
rotations, and no clock takes part.`,
	}
	c.AddCommand(
		newKeyringCreateCommand(a),
		newKeyringAddCommand(a),
		newKeyringRevokeCommand(a),
		newKeyringShowCommand(a),
		newKeyringSignCommand(a),
	)
	return c
}

func newKeyringCreateCommand(a *app) *cobra.Command {
	var path, from string
	var threshold int
	var minEpoch uint64
	c := &cobra.Command{
		Use:   "create --keyring K.json",
		Short: "Start a keyring, or with --from the successor of one",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := startKeyring(from, threshold)
			if err != nil {
				return err
			}
			if c.Flags().Changed("threshold") {
				k.Threshold = threshold
			}
			if c.Flags().Changed("min-epoch") {
				k.MinEpoch = minEpoch
			}
			if err := writeNew(path, k.Marshal(), 0o644); err != nil {
				return err
			}
			return a.showKeyring(path, k)
		},
	}
	keyringFlag(c, &path)
	c.Flags().StringVar(&from, "from", "", "keyring `OLD.json` that this one succeeds")
	c.Flags().IntVar(&threshold, "threshold", 1, "`NUMBER` of distinct keys that must sign")
	c.Flags().Uint64Var(&minEpoch, "min-epoch", 0, "`EPOCH` below which bundles are refused")
	return c
}

func startKeyring(from string, threshold int) (*bundle.Keyring, error) {
	if from == "" {
		return bundle.NewKeyring(threshold)
	}
	old, err := readKeyring(from)
	if err != nil {
		return nil, err
	}
	return old.Successor(), nil
}

func newKeyringAddCommand(a *app) *cobra.Command {
	var path, generate, public, algorithm string
	c := &cobra.Command{
		Use:   "add --keyring K.json --generate KEY.pem | --public PUB.pem",
		Short: "Trust a key: a new one, or the public half of one that exists",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := readKeyring(path)
			if err != nil {
				return err
			}
			key, err := newOrPublicKey(generate, algorithm, public)
			if err != nil {
				return err
			}
			if err := k.Add(key); err != nil {
				return err
			}
			return a.saveKeyring(path, k)
		},
	}
	keyringFlag(c, &path)
	c.Flags().StringVar(&generate, "generate", "", "make a key and write its private half to `KEY.pem`, which must not exist")
	c.Flags().StringVar(&public, "public", "", "public key `PUB.pem`")
	c.Flags().StringVar(&algorithm, "algorithm", bundle.Ed25519.String(), "`ALGORITHM` of a new key: ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384, rsa-pss-sha256")
	c.MarkFlagsOneRequired("generate", "public")
	c.MarkFlagsMutuallyExclusive("generate", "public")
	return c
}

func newOrPublicKey(generate, algorithm, public string) (bundle.Key, error) {
	if public != "" {
		return readPublicKey(public)
	}
	alg, err := bundle.ParseAlgorithm(algorithm)
	if err != nil {
		return bundle.Key{}, usagef("%w", err)
	}
	key, err := bundle.GenerateKey(alg)
	if err != nil {
		return bundle.Key{}, err
	}
	pem, err := key.PEM()
	if err != nil {
		return bundle.Key{}, err
	}
	// Durable before the keyring names it: a trusted key that is lost cannot
	// sign its own removal.
	return key.Public(), writeNew(generate, pem, 0o600)
}

func newKeyringRevokeCommand(a *app) *cobra.Command {
	var path, id, public string
	c := &cobra.Command{
		Use:   "revoke --keyring K.json --id ID | --public PUB.pem",
		Short: "Stop trusting a key, for good",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := readKeyring(path)
			if err != nil {
				return err
			}
			if public != "" {
				key, err := readPublicKey(public)
				if err != nil {
					return err
				}
				id = key.ID
			}
			if err := k.Revoke(id); err != nil {
				return err
			}
			return a.saveKeyring(path, k)
		},
	}
	keyringFlag(c, &path)
	c.Flags().StringVar(&id, "id", "", "`ID` of the key, as keyring show prints it")
	c.Flags().StringVar(&public, "public", "", "public key `PUB.pem`")
	c.MarkFlagsOneRequired("id", "public")
	c.MarkFlagsMutuallyExclusive("id", "public")
	return c
}

func newKeyringShowCommand(a *app) *cobra.Command {
	var path, keyrings string
	c := &cobra.Command{
		Use:   "show --keyring K.json [--keyrings keyrings.json]",
		Short: "Show a keyring, or the newest one that a rotation chain leads to from it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := readKeyring(path)
			if err != nil {
				return err
			}
			if keyrings != "" {
				b, err := os.ReadFile(keyrings)
				if err != nil {
					return err
				}
				if k, err = bundle.VerifyKeyrings(b, k); err != nil {
					return fmt.Errorf("%s: %w", keyrings, err)
				}
			}
			return a.showKeyring(path, k)
		},
	}
	keyringFlag(c, &path)
	c.Flags().StringVar(&keyrings, "keyrings", "", "rotation chain `keyrings.json`")
	return c
}

// saveKeyring replaces a keyring file, and says what became of it.
func (a *app) saveKeyring(path string, k *bundle.Keyring) error {
	if err := atomicfile.Write(path, k.Marshal(), 0o644); err != nil {
		return err
	}
	return a.showKeyring(path, k)
}

// keyringInfo is what the keyring verbs print with --json.
type keyringInfo struct {
	FormatVersion int       `json:"formatVersion"`
	Version       uint64    `json:"version"`
	Threshold     int       `json:"threshold"`
	MinEpoch      uint64    `json:"minEpoch"`
	Keys          []keyInfo `json:"keys"`
	Revoked       []string  `json:"revoked"`
}

type keyInfo struct {
	ID        string `json:"id"`
	Algorithm string `json:"algorithm"`
}

func (a *app) showKeyring(path string, k *bundle.Keyring) error {
	info := keyringInfo{FormatVersion: 1, Version: k.Version, Threshold: k.Threshold, MinEpoch: k.MinEpoch, Keys: []keyInfo{}, Revoked: append([]string{}, k.Revoked...)}
	for _, key := range k.Keys {
		info.Keys = append(info.Keys, keyInfo{key.ID, key.Algorithm.String()})
	}
	a.ui.Result(info, func() {
		a.ui.Printf("%s: keyring version %d, threshold %d of %d keys, minimum epoch %d\n", path, k.Version, k.Threshold, len(k.Keys), k.MinEpoch)
		for _, key := range info.Keys {
			a.ui.Printf("  key     %s  %s\n", key.ID, key.Algorithm)
		}
		for _, id := range k.Revoked {
			a.ui.Printf("  revoked %s\n", id)
		}
	})
	if len(k.Keys) < k.Threshold {
		a.ui.Say("keys that are still missing before anything can be signed under this keyring: %d", k.Threshold-len(k.Keys))
	}
	return nil
}

// writeNew writes a file that must not exist yet: a private key or a keyring
// that is overwritten is lost.
func writeNew(path string, data []byte, perm os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
