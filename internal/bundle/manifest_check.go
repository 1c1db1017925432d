package bundle

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/Masterminds/semver/v3"
)

var (
	// Image names become entry names of a tar and file names of an extract:
	// no separator, no dot, one case.
	imageNameSyntax = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	// Product and compatible names are compared byte for byte and given on
	// command lines, with commas between them.
	nameSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	// Kernel arguments end up in a boot loader environment block: one line
	// of printable ASCII.
	kernelArgsSyntax = regexp.MustCompile(`^[ -~]*$`)
	featureSyntax    = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
)

// check holds for every manifest that is read or written.
func (m *Manifest) check() error {
	if m.Format != FormatVersion {
		return fmt.Errorf("format %d; must be %d", m.Format, FormatVersion)
	}
	if !nameSyntax.MatchString(m.Product) {
		return fmt.Errorf("product %q must match %s", clip(m.Product), nameSyntax)
	}
	if _, err := semver.StrictNewVersion(m.Version); err != nil || len(m.Version) > 128 {
		return fmt.Errorf("version %q must be a semantic version such as 1.2.3", clip(m.Version))
	}
	if m.MinimumAgent != "" {
		if _, err := semver.StrictNewVersion(m.MinimumAgent); err != nil || len(m.MinimumAgent) > 128 {
			return fmt.Errorf("minimumAgent %q must be a semantic version such as 1.2.3", clip(m.MinimumAgent))
		}
	}
	if m.Epoch > maxInteger {
		return fmt.Errorf("epoch %d is more than 2^53-1", m.Epoch)
	}
	if m.CPULevel < 0 || m.CPULevel > 4 {
		return fmt.Errorf("cpuLevel %d must be 1 to 4", m.CPULevel)
	}
	if err := checkNames("compatible", m.Compatible); err != nil {
		return err
	}
	return m.checkImages()
}

func checkNames(field string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%s is empty: no device could install the bundle", field)
	}
	seen := map[string]bool{}
	for _, n := range names {
		if !nameSyntax.MatchString(n) {
			return fmt.Errorf("%s: %q must match %s", field, clip(n), nameSyntax)
		}
		if seen[n] {
			return fmt.Errorf("%s: %q is there twice", field, n)
		}
		seen[n] = true
	}
	return nil
}

func (m *Manifest) checkImages() error {
	if len(m.Images) == 0 {
		return errors.New("images is empty")
	}
	seen := map[string]bool{}
	for _, img := range m.Images {
		if err := img.check(); err != nil {
			return fmt.Errorf("image %q: %w", clip(img.Name), err)
		}
		if seen[img.Name] {
			return fmt.Errorf("image %q is there twice", img.Name)
		}
		seen[img.Name] = true
	}
	return nil
}

func (img Image) check() error {
	if !imageNameSyntax.MatchString(img.Name) {
		return fmt.Errorf("name must match %s", imageNameSyntax)
	}
	if err := checkGeometry(img.Size, img.FrameSize); err != nil {
		return err
	}
	n := img.frames()
	if v := img.VariedFrames; v != 0 && (v < frameCount(img.Size, img.FrameSize) || v > maxVaried(img.Size)) {
		return fmt.Errorf("variedFrames %d is impossible for an image of %d bytes", v, img.Size)
	}
	if img.CompressedSize < n || img.CompressedSize > n*maxCompressed(img.FrameSize) {
		return fmt.Errorf("compressedSize %d is impossible for %d frames of %d bytes", img.CompressedSize, n, img.FrameSize)
	}
	if lo, hi := blocksSizeRange(img.Size); img.BlocksSize < lo || img.BlocksSize > hi || img.BlocksSize%8 != 0 {
		return fmt.Errorf("blocksSize %d is impossible for an image of %d bytes", img.BlocksSize, img.Size)
	}
	if img.Filesystem != "" && !featureSyntax.MatchString(img.Filesystem) {
		return fmt.Errorf("filesystem %q must match %s", clip(img.Filesystem), featureSyntax)
	}
	for i, f := range img.FilesystemFeatures {
		if !featureSyntax.MatchString(f) {
			return fmt.Errorf("filesystem feature %q must match %s", clip(f), featureSyntax)
		}
		if i > 0 && img.FilesystemFeatures[i-1] >= f {
			return errors.New("filesystem features must be sorted and unique")
		}
	}
	if len(img.KernelArgs) > maxKernelArgs || !kernelArgsSyntax.MatchString(img.KernelArgs) {
		return fmt.Errorf("kernelArgs must be one line of printable ASCII, at most %d characters", maxKernelArgs)
	}
	return nil
}

// checkGeometry bounds the two numbers that every other size follows from.
func checkGeometry(size, frameSize int64) error {
	if size <= 0 || size > maxImageSize || size%512 != 0 {
		return fmt.Errorf("size %d must be a multiple of 512 from 512 to %d", size, int64(maxImageSize))
	}
	if frameSize < MinFrameSize || frameSize > MaxFrameSize || frameSize&(frameSize-1) != 0 {
		return fmt.Errorf("frame size %d must be a power of two from %d to %d", frameSize, MinFrameSize, MaxFrameSize)
	}
	if n := frameCount(size, frameSize); n > maxFrames {
		return fmt.Errorf("%d frames; at most %d: make the frames larger", n, maxFrames)
	}
	return nil
}

// frames is the number of frames of the image.
func (img Image) frames() int64 {
	if img.VariedFrames != 0 {
		return img.VariedFrames
	}
	return frameCount(img.Size, img.FrameSize)
}

func frameCount(size, frameSize int64) int64 { return (size + frameSize - 1) / frameSize }

// maxCompressed bounds what zstd makes of n bytes it cannot compress (its
// ZSTD_COMPRESSBOUND, rounded up).
func maxCompressed(n int64) int64 { return n + n>>8 + 1024 }
