package main

import (
	"fmt"
	"os"
	"strings"
)

func join(args []string) string { return strings.Join(args, " ") }

// compressed is v1 as one zstd stream of level 9, as the tools without a
// format of their own get it.
func (b *bench) compressed() (string, error) {
	out := b.path("v1.img.zst")
	if exists(out) {
		return out, nil
	}
	return out, b.do("zstd", "-q", "-9", b.image("v1"), "-o", out)
}

// swupdate writes straight to the slot: its default is a temporary copy.
func (b *bench) swupdate() (contestant, func(), error) {
	c := contestant{name: "swupdate", command: "swupdate -k cert.pem -H bench:1.0 -i v1.swu  (zstd -9, installed-directly)", needs: []string{"swupdate", "cpio", "openssl", "zstd", "losetup/mount"}}
	if c.missing() != "" {
		return c, nil, nil
	}
	device, err := b.loopSlot("swupdate.slot", b.image("v2"))
	if err != nil {
		return c, nil, err
	}
	done := func() { b.detach(device) }
	bundle, err := b.swu(device)
	if err != nil {
		return c, done, err
	}
	c.prepare = func() error { return refill(device, 0, b.image("v2")) }
	c.run = func() (usage, error) {
		return b.measure("swupdate", "-k", b.path("cert.pem"), "-H", "bench:1.0", "-i", bundle)
	}
	c.check = func() error { return same(device, 0, b.image("v1")) }
	return c, done, nil
}

// swu makes a signed bundle of swupdate for one device.
func (b *bench) swu(device string) (string, error) {
	if err := b.certificate(); err != nil {
		return "", err
	}
	zst, err := b.compressed()
	if err != nil {
		return "", err
	}
	sum, err := b.output("openssl", "dgst", "-sha256", "-r", zst)
	if err != nil {
		return "", err
	}
	sum, _, _ = strings.Cut(sum, " ")
	dir := b.path("swu")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	description := fmt.Sprintf(`software = { version = "2.0.0"; hardware-compatibility: ["1.0"];
images: ({ filename = "v1.zst"; device = "%s"; type = "raw"; compressed = "zstd"; installed-directly = true; sha256 = "%s"; }); }
`, device, sum)
	if err := os.WriteFile(dir+"/sw-description", []byte(description), 0o644); err != nil {
		return "", err
	}
	if err := b.do("openssl", "cms", "-sign", "-in", dir+"/sw-description", "-out", dir+"/sw-description.sig", "-signer", b.path("cert.pem"),
		"-inkey", b.path("cert.key"), "-outform", "DER", "-nosmimecap", "-binary"); err != nil {
		return "", err
	}
	out := b.path("v1.swu")
	return out, b.do("sh", "-c", fmt.Sprintf("ln -f %s %s/v1.zst && cd %s && printf '%%s\\n' sw-description sw-description.sig v1.zst | cpio -o -H crc --quiet > %s",
		zst, dir, dir, out))
}

// zstdDD is the least that any updater must do: check the compressed bytes,
// decompress, write.
func (b *bench) zstdDD() (contestant, func(), error) {
	c := contestant{name: "openssl, then zstd | dd", command: "openssl dgst -sha256 v1.zst; zstd -dc v1.zst | dd of=SLOT bs=1M oflag=direct", needs: []string{"zstd", "dd/coreutils", "openssl", "losetup/mount"}}
	if c.missing() != "" {
		return c, nil, nil
	}
	zst, err := b.compressed()
	if err != nil {
		return c, nil, err
	}
	device, err := b.loopSlot("dd.slot", b.image("v2"))
	if err != nil {
		return c, nil, err
	}
	c.prepare = func() error { return refill(device, 0, b.image("v2")) }
	c.run = func() (usage, error) {
		return b.measure("sh", "-c", fmt.Sprintf("openssl dgst -sha256 %s && zstd -dcq %s | dd of=%s bs=1M iflag=fullblock oflag=direct conv=fsync", zst, zst, device))
	}
	c.check = func() error { return same(device, 0, b.image("v1")) }
	return c, func() { b.detach(device) }, nil
}

// casyncExtract assembles v1 from a local store of chunks.
func (b *bench) casyncExtract() (contestant, func(), error) {
	// One round: it takes minutes, and is no match for those that stream.
	c := contestant{name: "casync (one run)", rounds: 1, command: "casync extract --store=v1.castr v1.caibx SLOT", needs: []string{"casync", "losetup/mount"}}
	if c.missing() != "" {
		return c, nil, nil
	}
	if _, err := b.casyncMake("v1"); err != nil {
		return c, nil, err
	}
	device, err := b.loopSlot("casync.slot", b.image("v2"))
	if err != nil {
		return c, nil, err
	}
	c.prepare = func() error { return refill(device, 0, b.image("v2")) }
	c.run = func() (usage, error) {
		return b.measure("casync", "extract", "--seed-output=no", "--store="+b.path("v1.castr"), b.path("v1.caibx"), device)
	}
	c.check = func() error { return same(device, 0, b.image("v1")) }
	return c, func() { b.detach(device) }, nil
}

// casyncMake makes the chunk store of an image unless it is there.
func (b *bench) casyncMake(name string) (usage, error) {
	if exists(b.path(name + ".caibx")) {
		return usage{}, nil
	}
	return b.measure("casync", "make", "--store="+b.path(name+".castr"), b.path(name+".caibx"), b.image(name))
}
