package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
)

func newBundleCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Build, sign and examine bundles",
		Long: `A bundle (.abu) is a tar that holds a signed manifest and compressed images.
None of these verbs needs root or touches a disk.`,
	}
	c.AddCommand(
		newBundleCreateCommand(a),
		newBootImageCommand(a),
		newBundleInfoCommand(a),
		newBundleVerifyCommand(a),
		newBundleExtractCommand(a),
		newBundleDeltaCommand(a),
		newBundleChannelCommand(a),
		newBundlePAECommand(a),
		newBundleAttachCommand(a),
	)
	return c
}

func newBundleInfoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "info B.abu",
		Short: "Say what a bundle says of itself, without checking signatures",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return a.bundleInfo(args[0]) },
	}
}

// bundleInfo is what info --json prints.
type bundleInfo struct {
	FormatVersion int             `json:"formatVersion"`
	Verified      bool            `json:"verified"` // always false
	Manifest      json.RawMessage `json:"manifest"`
	SignedBy      []string        `json:"signedBy"`
	Keyrings      []uint64        `json:"keyrings"` // versions in the rotation chain
}

func (a *app) bundleInfo(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	u, err := bundle.Inspect(bundle.NewStream(f))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	info := bundleInfo{FormatVersion: 1, Manifest: u.Manifest.Marshal(), SignedBy: append([]string{}, u.SignedBy...), Keyrings: []uint64{}}
	for _, k := range u.Keyrings {
		info.Keyrings = append(info.Keyrings, k.Version)
	}
	a.ui.Result(info, func() { a.printInfo(path, u) })
	a.ui.Say("no signature was checked: abupdate bundle verify --keyring K.json %s does", path)
	return nil
}

func (a *app) printInfo(path string, u *bundle.Unverified) {
	m := u.Manifest
	a.ui.Printf("%s: %s %s\n", path, m.Product, m.Version)
	a.ui.Printf("  compatible:    %s\n", strings.Join(m.Compatible, ", "))
	a.ui.Printf("  epoch:         %d\n", m.Epoch)
	if m.MinimumAgent != "" {
		a.ui.Printf("  minimum agent: %s\n", m.MinimumAgent)
	}
	if m.CPULevel != 0 {
		a.ui.Printf("  CPU level:     x86-64-v%d\n", m.CPULevel)
	}
	for _, img := range m.Images {
		a.ui.Printf("  image %s: %s, compressed %s in frames of %s\n", img.Name, formatSize(img.Size), formatSize(img.CompressedSize), formatSize(img.FrameSize))
		a.ui.Printf("    sha256:      %s\n", img.SHA256)
		if img.Filesystem != "" {
			a.ui.Printf("    filesystem:  %s %s\n", img.Filesystem, strings.Join(img.FilesystemFeatures, ","))
		}
		if img.KernelArgs != "" {
			a.ui.Printf("    kernel args: %s\n", img.KernelArgs)
		}
	}
	for _, k := range u.Keyrings {
		a.ui.Printf("  keyring version %d: %d keys, threshold %d, %d revoked\n", k.Version, len(k.Keys), k.Threshold, len(k.Revoked))
	}
	if len(u.SignedBy) == 0 {
		a.ui.Printf("  not signed\n")
	}
	for _, id := range u.SignedBy {
		a.ui.Printf("  signed by:     %s\n", id)
	}
}

func newBundlePAECommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pae B.abu|channel.json",
		Short: "Print the bytes to sign with a key that lives elsewhere",
		Long: `pae prints the bytes that a signer signs, for an HSM or openssl:

  abupdate bundle pae B.abu > pae
  openssl pkeyutl -sign -rawin -inkey KEY.pem -in pae -out sig             (Ed25519)
  openssl dgst -sha256 -sign KEY.pem -out sig pae                          (P-256; P-384: -sha384)
  openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sign KEY.pem -out sig pae   (RSA)
  abupdate bundle attach-signature B.abu --public PUB.pem --signature sig`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.bundlePAE(args[0]) },
	}
}

func (a *app) bundlePAE(path string) error {
	pae, err := bundle.SigningBytes(path)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(pae) // bytes, not text: also with --json
	return err
}

func newBundleAttachCommand(a *app) *cobra.Command {
	var public, signature string
	c := &cobra.Command{
		Use:   "attach-signature B.abu|channel.json",
		Short: "Add a signature that was made elsewhere over the output of pae",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, sig, err := readSignature(public, signature)
			if err != nil {
				return err
			}
			if err := bundle.AttachSignature(args[0], key, sig); err != nil {
				return err
			}
			a.ui.Result(result{Type: "result"}, func() { a.ui.Printf("%s: signed by %s\n", args[0], key.ID) })
			return nil
		},
	}
	signatureFlags(c, &public, &signature)
	_ = c.MarkFlagRequired("public")
	_ = c.MarkFlagRequired("signature")
	return c
}

// signatureFlags are the flags for a signature that was made elsewhere.
func signatureFlags(c *cobra.Command, public, signature *string) {
	c.Flags().StringVar(public, "public", "", "public key `PUB.pem` of the signer")
	c.Flags().StringVar(signature, "signature", "", "`FILE` with the signature, as the signer wrote it")
}

func readSignature(public, signature string) (bundle.Key, []byte, error) {
	key, err := readPublicKey(public)
	if err != nil {
		return bundle.Key{}, nil, err
	}
	sig, err := os.ReadFile(signature)
	return key, sig, err
}

func readPublicKey(path string) (bundle.Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return bundle.Key{}, err
	}
	key, err := bundle.ParseKeyPEM(b)
	if err != nil {
		return bundle.Key{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return key, nil
}

func readPrivateKeys(paths []string) ([]*bundle.PrivateKey, error) {
	var keys []*bundle.PrivateKey
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		key, err := bundle.ParsePrivateKeyPEM(b)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readKeyring(path string) (*bundle.Keyring, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := bundle.ParseKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}
