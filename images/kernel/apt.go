package kernel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pkg is one version of a Debian package.
type pkg struct{ name, version, sha256 string }

// resolve finds the kernel package that the meta package depends on.
func resolve(ctx context.Context, meta string) (pkg, error) {
	fields, err := show(ctx, meta)
	if err != nil {
		return pkg{}, err
	}
	// Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)
	name, _, _ := strings.Cut(fields["Depends"], " ")
	if !strings.HasPrefix(name, "linux-image-") {
		return pkg{}, fmt.Errorf("its Depends is %q, not a kernel", fields["Depends"])
	}
	if fields, err = show(ctx, name); err != nil {
		return pkg{}, err
	}
	p := pkg{name: name, version: fields["Version"], sha256: fields["SHA256"]}
	if p.version == "" || len(p.sha256) != 2*sha256.Size {
		return pkg{}, fmt.Errorf("apt-cache knows no version or SHA256 of %s", name)
	}
	return p, nil
}

// show returns the one-line fields of a package's record in apt's lists.
func show(ctx context.Context, name string) (map[string]string, error) {
	out, err := run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return nil, fmt.Errorf("%w (run apt-get update first?)", err)
	}
	fields := make(map[string]string)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ": "); ok && fields[key] == "" {
			fields[key] = value
		}
	}
	return fields, nil
}

// download returns the path of the package in cacheDir, fetching it if it is
// not there yet.
func (p pkg) download(ctx context.Context, cacheDir string) (string, error) {
	deb := filepath.Join(cacheDir, p.sha256+".deb")
	if err := check(deb, p.sha256); err == nil {
		return deb, nil
	}
	tmp, err := os.MkdirTemp(cacheDir, "apt-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	// Without this apt wants to download as user _apt, who cannot write here.
	sandbox := "APT::Sandbox::User=root"
	if _, err := run(ctx, tmp, "apt-get", "-q", "-o", sandbox, "download", p.name+"="+p.version); err != nil {
		return "", err
	}
	got, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("apt-get left %d packages in %s", len(got), tmp)
	}
	if err := check(got[0], p.sha256); err != nil {
		return "", err
	}
	return deb, os.Rename(got[0], deb)
}

// check returns an error unless the file has the SHA-256.
func check(path, sum string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("%s: SHA-256 is %s, apt's list says %s", path, got, sum)
	}
	return nil
}

// run returns a program's standard output, and its standard error in the
// error.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: the test appliances are built on Debian", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
