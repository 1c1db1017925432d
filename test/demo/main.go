// Command demo shows abupdate at work on a small appliance in QEMU, with real
// GRUB: an update, a rollback, and two bad updates that the appliance gets rid
// of by itself. `make demo` runs it from the top of the repository.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// releases are the appliance's versions, and what is wrong with each.
var releases = []struct {
	version string
	variant tiny.Variant
}{
	{"1.0.0", tiny.Healthy},
	{"2.0.0", tiny.Healthy},
	{"3.0.0", tiny.Panics},
	{"4.0.0", tiny.Unhealthy},
}

func run(ctx context.Context) error {
	begin := time.Now()
	repo, err := os.Getwd()
	if err != nil {
		return err
	}
	dir := filepath.Join(repo, "build", "demo")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	fmt.Print("A small gateway with two system slots, in a virtual machine without hardware\n" +
		"acceleration. It updates itself; nobody helps it when an update is bad.\n\n")

	say("making the vendor's side: keys, four releases, signed bundles, a factory disk")
	f, err := factory.New(ctx, repo, dir, kernel.Cloud)
	if err != nil {
		return err
	}
	server, err := serve(ctx, f)
	if err != nil {
		return err
	}
	defer server.Close()
	factoryDisk, err := f.Disk(ctx, vm.BIOS, releases[0].version, releases[0].variant)
	if err != nil {
		return err
	}
	disk := filepath.Join(dir, "gateway.img")
	if err := vm.CopyDisk(disk, factoryDisk); err != nil {
		return err
	}
	m, err := vm.Start(ctx, vm.Config{Firmware: vm.BIOS, Disks: []vm.Disk{{Path: disk}}, LogDir: dir})
	if err != nil {
		return err
	}
	defer m.Close()
	// A boot loader that waits for somebody is a dead gateway.
	m.Console.Never(`grub( rescue)?> |Press any key`)
	g := &gateway{machine: m, server: "http://" + net.JoinHostPort(vm.HostAddress, server.port)}
	if err := g.story(ctx); err != nil {
		return fmt.Errorf("%w\nThe gateway's serial console is in %s", err, filepath.Join(dir, "serial0.log"))
	}
	fmt.Printf("Done in %.0f s. The gateway's serial console is in %s.\n",
		time.Since(begin).Seconds(), filepath.Join(dir, "serial0.log"))
	return nil
}

// started is when the demo began, for the time in front of each line.
var started = time.Now()

// say tells one step.
func say(format string, args ...any) {
	fmt.Printf("[%4.0f s] %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}

// bundleServer is the vendor's web server.
type bundleServer struct {
	http.Server
	port string
}

// serve makes the bundles and offers them at /VERSION.abu on the loopback.
func serve(ctx context.Context, f *factory.Factory) (*bundleServer, error) {
	mux := http.NewServeMux()
	for _, r := range releases {
		path, err := f.Bundle(ctx, r.version, r.variant)
		if err != nil {
			return nil, err
		}
		mux.HandleFunc("/"+r.version+".abu", func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, path) })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &bundleServer{Server: http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	if _, s.port, err = net.SplitHostPort(l.Addr().String()); err != nil {
		return nil, err
	}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(os.Stderr, "demo: the bundle server: %v\n", err)
		}
	}()
	return s, nil
}
