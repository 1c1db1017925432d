package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// grown are the sizes of growth, in MiB.
var grown = []int64{512, 1536, 4096, 8192}

// growth is a full install of images of several sizes, each of them v1's
// content over and over: time for a GiB and memory must not grow.
func (b *bench) growth() error {
	first, err := b.pack("v1", "1.0.0", "--level", "1")
	if err != nil {
		return err
	}
	t := b.report.table("Growth: a full install, CPU and wall for each GiB")
	for _, size := range grown {
		u, err := b.grow(first, size)
		if err != nil {
			return err
		}
		gib := float64(size) / 1024
		u.cpu, u.wall = scale(u.cpu, 1/gib), scale(u.wall, 1/gib)
		u.written = int64(float64(u.written) / gib)
		t.rows = append(t.rows, row{fmt.Sprintf("%.1f GiB", gib), "abupdate --disk gateway.img apply …", u})
	}
	return nil
}

// grow measures one size and leaves nothing: these disks are large.
func (b *bench) grow(first string, size int64) (usage, error) {
	image := fmt.Sprintf("grown%d", size)
	defer os.Remove(b.image(image))
	if err := repeat(b.image("v1"), b.image(image), size); err != nil {
		return usage{}, err
	}
	packed, err := b.pack(image, "2.0.0", "--level", "1")
	if err != nil {
		return usage{}, err
	}
	defer os.Remove(packed)
	disk, slot := b.path("grown.img"), max(size, 1536)<<20
	defer os.Remove(disk)
	var runs []usage
	for range b.pairs {
		_ = os.Remove(disk) // so that each round finds the same holes
		if err := b.do(b.agent, "image", "create", "--bundle", first, "--keyring", b.path("k.json"), "--compatible", "bench",
			"--firmware", "bios", "--size", itoa(2*slot+(1<<30)), "--slot-size", itoa(slot), "--out", disk); err != nil {
			return usage{}, err
		}
		if err := b.do("sync", disk); err != nil {
			return usage{}, err
		}
		u, err := b.measure(b.agent, "--quiet", "--disk", disk, "apply", packed)
		if err != nil {
			return u, err
		}
		b.report.say("growth, %d MiB: CPU %.2f s, wall %.2f s, %.0f MiB", size, u.cpu.Seconds(), u.wall.Seconds(), mib(u.rss))
		runs = append(runs, u)
	}
	return median(runs), nil
}

// repeat writes an image of n MiB of an image's content, each MiB of it equally
// often, so that as large a part is zeros, and the same ones far apart. A block
// in each is noise, so that none is quite like another.
func repeat(from, to string, n int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	noise := rand.NewChaCha8(sha256.Sum256([]byte(to)))
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	at := int64(0)
	for _, i := range evenly(st.Size()>>20, n) {
		if _, err := in.ReadAt(buf, i<<20); err != nil {
			return err
		}
		if !bytes.Equal(buf, zero) { // else a hole
			_, _ = noise.Read(buf[:4096])
			if _, err := out.WriteAt(buf, at); err != nil {
				return err
			}
		}
		at += 1 << 20
	}
	return errors.Join(out.Truncate(n<<20), out.Close())
}

// evenly returns n numbers below have, each as often as any other, give or
// take one, in passes over all of them.
func evenly(have, n int64) []int64 {
	times := make([]int64, have)
	for j := range n {
		times[j*have/n]++
	}
	var out []int64
	for int64(len(out)) < n {
		for i := range times {
			if times[i] > 0 {
				times[i]--
				out = append(out, int64(i))
			}
		}
	}
	return out
}
