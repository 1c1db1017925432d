package main

import (
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
)

func newBundleChannelCommand(a *app) *cobra.Command {
	var keys []string
	var staleDays int
	c := &cobra.Command{
		Use:   "channel B.abu [D.abud…] --key KEY.pem…",
		Short: "Name the latest bundle of a directory, for devices that follow it",
		Long: `channel writes channel.json into the directory of B.abu: that this is the latest
release, and which of the deltas D.abud beside it lead there. Put the directory on
any web server, channel.json last; devices follow it with

  abupdate apply https://SERVER/DIRECTORY/

Without --key it is not signed yet: bundle pae and bundle attach-signature take a
channel.json too.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.bundleChannel(args, keys, staleDays) },
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "private key `KEY.pem` to sign with; may be given again")
	c.Flags().IntVar(&staleDays, "stale-after", 0, "`DAYS` within which the channel will be signed anew, release or not; devices say so when it was not")
	return c
}

func (a *app) bundleChannel(args, keyFiles []string, staleDays int) (err error) {
	o := bundle.ChannelOptions{Bundle: args[0], Deltas: args[1:]}
	if staleDays < 0 {
		return usagef("--stale-after %d: give a number of days", staleDays)
	}
	if staleDays > 0 {
		o.StaleAfter = uint64(time.Now().AddDate(0, 0, staleDays).Unix())
	}
	if o.Keys, err = readPrivateKeys(keyFiles); err != nil {
		return err
	}
	out := filepath.Join(filepath.Dir(o.Bundle), bundle.ChannelName)
	c, err := bundle.CreateChannel(out, o)
	if err != nil {
		return err
	}
	a.ui.Result(result{Type: "result"}, func() {
		a.ui.Printf("%s: %s %s, %s", out, c.Product, c.Version, c.Bundle.Path)
		for _, d := range c.Deltas {
			a.ui.Printf(", %s (%s)", d.Path, formatSize(d.Size))
		}
		a.ui.Printf("\n")
	})
	if len(o.Keys) == 0 {
		a.ui.Say("the channel is not signed: see abupdate bundle pae --help")
	}
	return nil
}
