package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/bundle"
)

// keyringSignFlags are the flags of keyring sign.
type keyringSignFlags struct {
	keyring, previous, keyrings string
	keys                        []string
	public, signature           string
	pae                         bool
}

func newKeyringSignCommand(a *app) *cobra.Command {
	var f keyringSignFlags
	c := &cobra.Command{
		Use:   "sign --keyring K2.json --previous K1.json --keyrings keyrings.json --key KEY.pem…",
		Short: "Sign a keyring as the successor of another, into a rotation chain",
		Long: `sign puts keyring K2.json at the end of the rotation chain keyrings.json, which
it makes when it is not there, and signs it. The step is complete with the
threshold of K1.json and the threshold of K2.json. Signers may run it one after
the other on the same keyrings.json. For a key that lives elsewhere:

  abupdate keyring sign … --pae > pae        and sign that, as bundle pae --help says
  abupdate keyring sign … --public PUB.pem --signature sig`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.keyringSign(f) },
	}
	keyringFlag(c, &f.keyring)
	flags := c.Flags()
	flags.StringVar(&f.previous, "previous", "", "keyring `K1.json` that devices have now")
	flags.StringVar(&f.keyrings, "keyrings", "", "rotation chain `keyrings.json` to make or extend")
	flags.StringArrayVar(&f.keys, "key", nil, "private key `KEY.pem` to sign with; may be given again")
	flags.BoolVar(&f.pae, "pae", false, "print the bytes to sign, and change nothing")
	signatureFlags(c, &f.public, &f.signature)
	_ = c.MarkFlagRequired("previous")
	_ = c.MarkFlagRequired("keyrings")
	c.MarkFlagsRequiredTogether("public", "signature")
	c.MarkFlagsOneRequired("key", "pae", "signature")
	c.MarkFlagsMutuallyExclusive("pae", "key")
	c.MarkFlagsMutuallyExclusive("pae", "signature")
	return c
}

func (a *app) keyringSign(f keyringSignFlags) error {
	r, err := f.start()
	if err != nil {
		return err
	}
	if f.pae {
		_, err := a.stdout.Write(r.PAE())
		return err
	}
	if err := f.sign(r); err != nil {
		return err
	}
	previous, own, err := r.Missing()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(f.keyrings, r.Marshal(), 0o644); err != nil {
		return err
	}
	a.ui.Result(struct {
		result
		MissingPrevious int `json:"missingPrevious"`
		MissingOwn      int `json:"missingOwn"`
	}{result{Type: "result"}, previous, own}, func() {
		if previous == 0 && own == 0 {
			a.ui.Printf("%s: complete\n", f.keyrings)
			return
		}
		a.ui.Printf("%s: not complete: needs %d more signatures by keys of %s and %d by keys of %s\n", f.keyrings, previous, f.previous, own, f.keyring)
	})
	return nil
}

func (f *keyringSignFlags) start() (*bundle.Rotation, error) {
	next, err := readKeyring(f.keyring)
	if err != nil {
		return nil, err
	}
	previous, err := readKeyring(f.previous)
	if err != nil {
		return nil, err
	}
	chain, err := os.ReadFile(f.keyrings)
	if errors.Is(err, os.ErrNotExist) {
		chain, err = bundle.EmptyKeyrings(), nil
	}
	if err != nil {
		return nil, err
	}
	return bundle.StartRotation(chain, previous, next)
}

func (f *keyringSignFlags) sign(r *bundle.Rotation) error {
	keys, err := readPrivateKeys(f.keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := r.Sign(key); err != nil {
			return err
		}
	}
	if f.signature == "" {
		return nil
	}
	key, sig, err := readSignature(f.public, f.signature)
	if err != nil {
		return err
	}
	return r.Attach(key, sig)
}
