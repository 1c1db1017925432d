package main

import (
	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/migrate"
)

func newMigrateCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make an A/B device out of one with a single system",
	}
	c.AddCommand(
		newMigratePlanCommand(app), newMigratePrepareCommand(app), newMigrateStartCommand(app),
		newMigrateStatusCommand(app), newMigrateFinishCommand(app), newMigrateAbortCommand(app),
	)
	return c
}

// migrateFlags are those of prepare, which start has too.
type migrateFlags struct {
	slotSize                     sizeFlag
	tier                         string
	keyring, compatible, product string
	migrator                     string
}

func (f *migrateFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.Var(&f.slotSize, "slot-size", "`SIZE` of each of the two slots, such as 2GiB; it can never change (default: the image and half as much again)")
	flags.StringVar(&f.tier, "tier", "", "`carve|gather` (default: carve if it works)")
	flags.StringVar(&f.keyring, "keyring", "", "keyring `K.json` that the bundle is verified with (default: [device] keyring of the configuration)")
	flags.StringVar(&f.compatible, "compatible", "", "`KIND` of this device: one of the bundle's compatible names (default: [device] compatible)")
	flags.StringVar(&f.product, "product", "", "`PRODUCT` of this device (default: [device] product, else the bundle's)")
	flags.StringVar(&f.migrator, "migrator", "/usr/libexec/abupdate/initramfs-migrator", "`PROGRAM` that the initramfs of the migration runs")
}

// settle fills in what the configuration says.
func (f *migrateFlags) settle(cfg *config.Config) (migrate.Tier, error) {
	for _, v := range []struct{ flag, config *string }{
		{&f.keyring, &cfg.Device.Keyring}, {&f.compatible, &cfg.Device.Compatible}, {&f.product, &cfg.Device.Product},
	} {
		if *v.flag == "" {
			*v.flag = *v.config
		}
	}
	if f.tier == "" {
		return "", nil
	}
	t, err := migrate.ParseTier(f.tier)
	if err != nil {
		return "", usageError{err: err}
	}
	return t, nil
}
