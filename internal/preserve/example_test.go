package preserve_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/preserve"
)

// The whole way of a configuration into a new system. The caller makes the
// slot bootable only after Apply has returned nil.
func Example() {
	dir, err := os.MkdirTemp("", "preserve")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"running/etc/passwd":   "root:x:0:0:root:/root:/bin/sh\n",
		"running/etc/hostname": "gw-17\n",
		"slot/etc/hostname":    "localhost\n",
		"slot/bin/sh":          "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	running, err := os.OpenRoot(filepath.Join(dir, "running"))
	if err != nil {
		log.Fatal(err)
	}
	slot, err := os.OpenRoot(filepath.Join(dir, "slot"))
	if err != nil {
		log.Fatal(err)
	}
	old, err := preserve.SlotTree(running)
	if err != nil {
		log.Fatal(err)
	}
	// Everything is computed first: a refusal has written nothing.
	plan, err := preserve.NewPlan(context.Background(), old, preserve.DirTree(slot), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range plan.Notes {
		if n.Kind == preserve.Carried {
			fmt.Println(n.Handler, n.Subject, n.Detail)
		}
	}
	// plan.Apply(ctx, slot) needs root.

	// Output:
	// users root UID 0, no password
	// hostname /etc/hostname gw-17
}
