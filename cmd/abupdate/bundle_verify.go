package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
)

func newBundleVerifyCommand(a *app) *cobra.Command {
	var keyring string
	c := &cobra.Command{
		Use:   "verify --keyring K.json B.abu",
		Short: "Check every byte of a bundle as a device would, and more",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.bundleRead(c.Context(), args[0], keyring, "verifying", "verified", bundle.Verify)
		},
	}
	keyringFlag(c, &keyring)
	return c
}

func newBundleExtractCommand(a *app) *cobra.Command {
	var keyring, dir string
	c := &cobra.Command{
		Use:   "extract --keyring K.json --out DIR B.abu",
		Short: "Verify a bundle and write its images and signed texts to a directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			extract := func(ctx context.Context, s bundle.Stream, k *bundle.Keyring, progress func(done, total int64)) (*bundle.Manifest, error) {
				return bundle.Extract(ctx, s, k, dir, progress)
			}
			return a.bundleRead(c.Context(), args[0], keyring, "extracting", "verified and extracted to "+dir, extract)
		},
	}
	keyringFlag(c, &keyring)
	c.Flags().StringVar(&dir, "out", "", "`DIR` to write to")
	_ = c.MarkFlagRequired("out")
	return c
}

func keyringFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "keyring", "", "keyring `K.json` to trust")
	_ = c.MarkFlagRequired("keyring")
}

// bundleReader is bundle.Verify, or Extract into some directory.
type bundleReader func(context.Context, bundle.Stream, *bundle.Keyring, func(done, total int64)) (*bundle.Manifest, error)

func (a *app) bundleRead(ctx context.Context, path, keyring, doing, done string, read bundleReader) error {
	k, err := readKeyring(keyring)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := read(ctx, bundle.NewStream(f), k, func(done, total int64) { a.ui.Progress(doing, done, total) })
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, path, err)
	}
	a.ui.Result(result{Type: "result"}, func() {
		a.ui.Printf("%s: %s %s, epoch %d: %s\n", path, m.Product, m.Version, m.Epoch, done)
	})
	return nil
}
