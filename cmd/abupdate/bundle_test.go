package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// vendor is a directory with an image in it, for the verbs that a vendor uses.
type vendor struct {
	testing.TB
	dir string
}

func newVendor(t *testing.T) *vendor {
	v := &vendor{t, t.TempDir()}
	image := append(bytes.Repeat([]byte("gateway "), 1<<13), make([]byte, 1<<20)...)
	v.write("rootfs.img", image)
	return v
}

func (v *vendor) path(name string) string { return filepath.Join(v.dir, name) }

func (v *vendor) write(name string, b []byte) {
	v.Helper()
	if err := os.WriteFile(v.path(name), b, 0o600); err != nil {
		v.Fatal(err)
	}
}

func (v *vendor) read(name string) []byte {
	v.Helper()
	b, err := os.ReadFile(v.path(name))
	if err != nil {
		v.Fatal(err)
	}
	return b
}

// run runs a command line in which @NAME is a file of the directory.
func (v *vendor) run(line string) outcome {
	v.Helper()
	args := strings.Fields(line)
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "@"); ok {
			args[i] = v.path(name)
		}
	}
	return abupdate(args...)
}

// ok wants exit code 0 and returns standard output.
func (v *vendor) ok(line string) string {
	v.Helper()
	return v.code(0, line).stdout
}

func (v *vendor) code(want int, line string) outcome {
	v.Helper()
	o := v.run(line)
	if o.code != want {
		v.Fatalf("abupdate %s: exit code %d, want %d\n%s%s", line, o.code, want, o.stdout, o.stderr)
	}
	if want != 0 && o.stderr == "" {
		v.Errorf("abupdate %s: no message", line)
	}
	return o
}

const create = "bundle create --rootfs @rootfs.img --product gw --compatible gw-1 --level 1 --out @B.abu "

// openssl runs openssl in the directory.
func (v *vendor) openssl(args ...string) {
	v.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		v.Fatalf("%v: apt-get install openssl", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = v.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		v.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

func TestBundleFlow(t *testing.T) {
	v := newVendor(t)
	v.ok("keyring create --keyring @K.json")
	v.ok("keyring add --keyring @K.json --generate @a.pem")
	v.ok(create + "--version 1.0.0 --key @a.pem --frame-size 64KiB --epoch 5 --kernel-args quiet")
	v.ok("bundle verify --keyring @K.json @B.abu")
	v.ok("bundle extract --keyring @K.json --out @out @B.abu")
	if !bytes.Equal(v.read("out/rootfs.img"), v.read("rootfs.img")) {
		t.Error("another image came out")
	}

	var info struct {
		Verified bool
		SignedBy []string
		Manifest struct {
			Version string
			Images  []struct{ FrameSize int }
		}
	}
	if err := json.Unmarshal([]byte(v.ok("--json bundle info @B.abu")), &info); err != nil {
		t.Fatal(err)
	}
	if info.Verified || len(info.SignedBy) != 1 || info.Manifest.Version != "1.0.0" || info.Manifest.Images[0].FrameSize != 64<<10 {
		t.Errorf("info says %+v", info)
	}
	if out := v.ok("bundle info @B.abu"); !strings.Contains(out, "gw 1.0.0") || !strings.Contains(out, info.SignedBy[0]) {
		t.Errorf("info prints %s", out)
	}
	first := v.read("B.abu")
	v.ok(create + "--version 1.0.0 --key @a.pem --frame-size 64KiB --epoch 5 --kernel-args quiet")
	if !bytes.Equal(first, v.read("B.abu")) {
		t.Error("the same input gave other bytes")
	}
}

// The keys of a product change; a device that was off all the while follows.
func TestKeyRotation(t *testing.T) {
	v := newVendor(t)
	v.ok("keyring create --keyring @K1.json")
	v.ok("keyring add --keyring @K1.json --generate @old.pem")
	v.ok("keyring create --from @K1.json --keyring @K2.json --min-epoch 2 --threshold 2")
	v.ok("keyring add --keyring @K2.json --generate @new.pem --algorithm ecdsa-p256-sha256")
	v.ok("keyring add --keyring @K2.json --generate @hsm.pem --algorithm ecdsa-p384-sha384")
	v.openssl("pkey", "-in", "old.pem", "-pubout", "-out", "old.pub")
	v.openssl("pkey", "-in", "hsm.pem", "-pubout", "-out", "hsm.pub")
	v.ok("keyring revoke --keyring @K2.json --public @old.pub")

	const sign = "keyring sign --keyring @K2.json --previous @K1.json --keyrings @keyrings.json "
	if out := v.ok(sign + "--key @old.pem"); !strings.Contains(out, "not complete") {
		t.Errorf("sign prints %s", out)
	}
	v.code(codeSignature, create+"--version 2.0.0 --key @new.pem --keyrings @keyrings.json") // nobody would take it
	v.ok(sign + "--key @new.pem")
	// The third signer has an HSM.
	v.write("pae", []byte(v.ok(sign+"--pae")))
	v.openssl("dgst", "-sha384", "-sign", "hsm.pem", "-out", "sig", "pae")
	if out := v.ok(sign + "--public @hsm.pub --signature @sig"); !strings.Contains(out, "complete") || strings.Contains(out, "not complete") {
		t.Errorf("sign prints %s", out)
	}
	if out := v.ok("keyring show --keyring @K1.json --keyrings @keyrings.json"); !strings.Contains(out, "keyring version 2, threshold 2") {
		t.Errorf("show prints %s", out)
	}

	v.ok(create + "--version 2.0.0 --epoch 2 --key @new.pem --keyrings @keyrings.json")
	v.code(codeSignature, "bundle verify --keyring @K1.json @B.abu")
	v.write("pae", []byte(v.ok("bundle pae @B.abu")))
	v.openssl("dgst", "-sha384", "-sign", "hsm.pem", "-out", "sig", "pae")
	v.ok("bundle attach-signature @B.abu --public @hsm.pub --signature @sig")
	for _, k := range []string{"@K1.json", "@K2.json"} {
		v.ok("bundle verify @B.abu --keyring " + k)
	}
}

func TestBundleRefusals(t *testing.T) {
	v := newVendor(t)
	v.ok("keyring create --keyring @K.json")
	v.ok("keyring add --keyring @K.json --generate @a.pem")
	v.openssl("pkey", "-in", "a.pem", "-pubout", "-out", "a.pub")
	v.ok("keyring create --keyring @empty.json")
	v.ok(create + "--version 1.0.0 --key @a.pem")
	good := v.read("B.abu")
	v.write("cut.abu", good[:len(good)-700])
	bad := bytes.Clone(good)
	bad[bytes.Index(bad, []byte("rootfs.zst"))+512+20] ^= 1 // in the first frame
	v.write("bad.abu", bad)
	v.write("sig", []byte("no signature"))
	for _, c := range []struct {
		code int
		line string
	}{
		{codeUsage, "bundle"},
		{codeUsage, "bundle frobnicate"},
		{codeUsage, "bundle create"},
		{codeUsage, "bundle verify @B.abu"},
		{codeUsage, create + "--version 1.0"},
		{codeUsage, create + "--version 1.0.0 --level 99"},
		{codeUsage, create + "--version 1.0.0 --frame-size 100000"},
		{codeUsage, create + "--version 1.0.0 --frame-size big"},
		{codeFailed, create + "--version 1.0.0 --key @missing.pem"},
		{codeFailed, create + "--version 1.0.0 --key @rootfs.img"},
		{codeFormat, "bundle info @rootfs.img"},
		{codeFormat, "bundle pae @rootfs.img"},
		{codeFormat, "bundle verify --keyring @K.json @cut.abu"},
		{codeFormat, "bundle verify --keyring @rootfs.img @B.abu"},
		{codeSignature, "bundle verify --keyring @empty.json @B.abu"},
		{codeSignature, "bundle verify --keyring @K.json @bad.abu"},
		{codeSignature, "bundle extract --keyring @K.json --out @out @bad.abu"},
		{codeFailed, "bundle attach-signature @B.abu --public @a.pub --signature @sig"},
		{codeFailed, "keyring create --keyring @K.json"},
		{codeFailed, "keyring add --keyring @K.json --generate @a.pem"},
		{codeFailed, "keyring add --keyring @K.json --public @a.pub"},
		{codeUsage, "keyring add --keyring @K.json --generate @x.pem --algorithm rot13"},
		{codeUsage, "keyring add --keyring @K.json"},
		{codeFailed, "keyring revoke --keyring @K.json --id xyz"},
		{codeFailed, "keyring sign --keyring @K.json --previous @K.json --keyrings @k.json --key @a.pem"},
	} {
		v.code(c.code, c.line)
	}
	if !bytes.Equal(v.read("B.abu"), good) {
		t.Error("a refusal changed the bundle")
	}
	if names, err := filepath.Glob(v.path(".*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	if names, err := filepath.Glob(v.path("out/*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// A private key is for its owner, and is never overwritten.
func TestPrivateKeyFile(t *testing.T) {
	v := newVendor(t)
	v.ok("keyring create --keyring @K.json")
	v.ok("keyring add --keyring @K.json --generate @a.pem")
	st, err := os.Stat(v.path("a.pem"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	before, ring := v.read("a.pem"), v.read("K.json")
	v.code(codeFailed, "keyring add --keyring @K.json --generate @a.pem")
	if !bytes.Equal(v.read("a.pem"), before) || !bytes.Equal(v.read("K.json"), ring) {
		t.Error("the key or the keyring has changed")
	}
}
