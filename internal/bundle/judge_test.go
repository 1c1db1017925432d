package bundle

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need finds a program that judges our files, or names the Debian package.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: apt-get install %s", err, pkg)
	}
	return path
}

func run(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, errs.String())
	}
	return out
}

// tar and zstd alone restore the image, byte for byte.
func TestJudge_TarAndZstd(t *testing.T) {
	tarPath, zstdPath := need(t, "tar", "tar"), need(t, "zstd", "zstd")
	for _, level := range []int{1, 5, 11, 19, 22} {
		f := newFixture(t, func(o *CreateOptions) { o.Level, o.ZstdProgram = level, zstdPath })
		dir := t.TempDir()
		if out := run(t, dir, tarPath, "-xvf", f.path); !strings.HasPrefix(string(out), "keyrings.json\nmanifest.dsse.json\nrootfs.frames\nrootfs.blocks\nrootfs.zst\nboot.frames\nboot.blocks\nboot.zst\n") {
			t.Errorf("tar lists %s", out)
		}
		for name, want := range f.images {
			if got := run(t, dir, zstdPath, "-d", "-c", name+zstSuffix); !bytes.Equal(got, want) {
				t.Errorf("level %d: zstd -d restores another %s", level, name)
			}
		}
		_, err := readAll(NewStream(bytes.NewReader(f.bytes(t))), f.ring)
		must(t, err)
	}
}

func TestZstdProgramIsDeterministic(t *testing.T) {
	zstdPath := need(t, "zstd", "zstd")
	f := newFixture(t, func(o *CreateOptions) { o.Level, o.ZstdProgram = 19, zstdPath })
	want := f.bytes(t)
	t.Setenv("ZSTD_CLEVEL", "3")
	t.Setenv("ZSTD_NBTHREADS", "2")
	f.options.Workers = 1
	_, err := Create(context.Background(), f.path, f.options)
	must(t, err)
	if !bytes.Equal(f.bytes(t), want) {
		t.Error("two bundles differ")
	}
	f.options.ZstdProgram = "/bin/false"
	if _, err := Create(context.Background(), f.path, f.options); err == nil {
		t.Error("a compressor that fails went unnoticed")
	}
	f.options.ZstdProgram = "/bin/true"
	if _, err := Create(context.Background(), f.path, f.options); err == nil {
		t.Error("a compressor that gives nothing went unnoticed")
	}
	if !bytes.Equal(f.bytes(t), want) {
		t.Error("a failure touched the bundle that was there")
	}
	onlyBundleLeft(t, f)
}

func onlyBundleLeft(t *testing.T, f *fixture) {
	t.Helper()
	names, err := os.ReadDir(filepath.Dir(f.path))
	must(t, err)
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") {
			t.Errorf("left behind: %s", n.Name())
		}
	}
}

// opensslKey is a kind of key, how openssl makes one and how it signs and
// checks a file.
type opensslKey struct {
	name         string
	gen          []string
	sign, verify []string
}

var opensslKeys = []opensslKey{
	{
		"ed25519",
		[]string{"genpkey", "-algorithm", "ed25519"},
		[]string{"pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "pae", "-out", "sig"},
		[]string{"pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "pub.pem", "-in", "pae", "-sigfile", "sig"},
	},
	{
		"p256",
		[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		[]string{"pkeyutl", "-sign", "-rawin", "-digest", "sha256", "-inkey", "key.pem", "-in", "pae", "-out", "sig"},
		[]string{"dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "pae"},
	},
	{
		"p384",
		[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
		[]string{"dgst", "-sha384", "-sign", "key.pem", "-out", "sig", "pae"},
		[]string{"dgst", "-sha384", "-verify", "pub.pem", "-signature", "sig", "pae"},
	},
	{
		"rsa3072",
		[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"},
		[]string{"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sign", "key.pem", "-out", "sig", "pae"},
		[]string{"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-verify", "pub.pem", "-signature", "sig", "pae"},
	},
}

// openssl signs what pae prints, and the bundle verifies; openssl verifies
// what we sign.
func TestJudge_OpenSSL(t *testing.T) {
	openssl := need(t, "openssl", "openssl")
	for _, k := range opensslKeys {
		t.Run(k.name, func(t *testing.T) {
			dir := t.TempDir()
			run(t, dir, openssl, append(k.gen, "-out", "key.pem")...)
			run(t, dir, openssl, "pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem")
			read := func(name string) []byte {
				b, err := os.ReadFile(filepath.Join(dir, name))
				must(t, err)
				return b
			}
			pub, err := ParseKeyPEM(read("pub.pem"))
			must(t, err)
			key, err := ParsePrivateKeyPEM(read("key.pem"))
			must(t, err)

			f := newFixture(t, func(o *CreateOptions) { o.Keys = nil })
			ring, err := NewKeyring(1)
			must(t, err)
			must(t, ring.Add(pub))
			refused(t, f.bytes(t), ring, ErrSignature)
			u, err := Inspect(NewStream(bytes.NewReader(f.bytes(t))))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "pae"), u.PAE, 0o600))

			run(t, dir, openssl, k.sign...)
			must(t, AttachSignature(f.path, pub, read("sig")))
			_, err = readAll(NewStream(bytes.NewReader(f.bytes(t))), ring)
			must(t, err)
			onlyBundleLeft(t, f)

			ours, err := key.Sign(u.PAE)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "sig"), ours, 0o600))
			run(t, dir, openssl, k.verify...)

			before := f.bytes(t)
			ours[len(ours)-1] ^= 1
			if err := AttachSignature(f.path, pub, ours); err == nil {
				t.Error("attached a wrong signature")
			}
			if !bytes.Equal(f.bytes(t), before) {
				t.Error("a refused signature changed the bundle")
			}
		})
	}
}

// Keys that are too weak or of a kind that format 1 does not have.
func TestJudge_KeysRefused(t *testing.T) {
	openssl := need(t, "openssl", "openssl")
	for _, gen := range [][]string{
		{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-pkeyopt", "rsa_keygen_pubexp:3"},
		{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
		{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
		{"genpkey", "-algorithm", "ed448"},
		{"genpkey", "-algorithm", "X25519"},
	} {
		dir := t.TempDir()
		run(t, dir, openssl, append(gen, "-out", "key.pem")...)
		b, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		must(t, err)
		if _, err := ParsePrivateKeyPEM(b); err == nil {
			t.Errorf("%v: private key accepted", gen)
		}
		if _, err := ParseKeyPEM(run(t, dir, openssl, "pkey", "-in", "key.pem", "-pubout")); err == nil {
			t.Errorf("%v: public key accepted", gen)
		}
	}
}

// Superblocks by mkfs.
func TestJudge_Filesystems(t *testing.T) {
	mkext4, mkxfs := need(t, "mkfs.ext4", "e2fsprogs"), need(t, "mkfs.xfs", "xfsprogs")
	dir := t.TempDir()
	for _, c := range []struct {
		make     []string
		name     string
		features string
		warnings int
	}{
		{[]string{mkext4, "-q", "-b", "4096", "-O", "^64bit,^metadata_csum", "x.img", "16M"}, "ext4", "extent,filetype,flex_bg", 0},
		{[]string{mkext4, "-q", "-b", "1024", "-O", "64bit,metadata_csum,metadata_csum_seed", "x.img", "16M"}, "ext4", "64bit,extent,filetype,flex_bg,metadata_csum_seed", 1},
		{[]string{mkxfs, "-q", "-f", "-m", "crc=1,bigtime=1", "-d", "size=320m,file,name=x.img"}, "xfs", "bigtime,crc,ftype,spinodes", 0},
		{[]string{mkxfs, "-q", "-f", "-m", "crc=0,finobt=0", "-d", "size=320m,file,name=x.img"}, "xfs", "ftype", 0},
	} {
		run(t, dir, c.make[0], c.make[1:]...)
		f, err := os.Open(filepath.Join(dir, "x.img"))
		must(t, err)
		fs, err := probeFilesystem(f)
		must(t, err)
		must(t, f.Close())
		must(t, os.Remove(f.Name()))
		if got := strings.Join(fs.features, ","); fs.name != c.name || got != c.features || len(fs.warnings) != c.warnings {
			t.Errorf("%v:\n got %s %s %v\nwant %s %s", c.make[1:], fs.name, got, fs.warnings, c.name, c.features)
		}
	}
}
