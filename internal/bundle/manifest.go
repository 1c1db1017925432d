package bundle

import (
	"fmt"
)

// ManifestType is the payload type that the manifest is signed under: a
// signature made for anything else never counts for a manifest.
const ManifestType = "application/vnd.abupdate.manifest+json"

// FormatVersion is the bundle format that this package reads and writes.
const FormatVersion = 1

// Manifest says what a bundle holds and which devices it is for. It is the
// text that is signed; everything else in a bundle is reached by its hashes.
type Manifest struct {
	Format       int      // FormatVersion
	Product      string   // what the bundle is a release of
	Version      string   // semantic version of that release
	Compatible   []string // device kinds that may install it
	Epoch        uint64   // raised to lock out older releases for good
	MinimumAgent string   // semantic version of abupdate; empty: any
	CPULevel     int      // x86-64 microarchitecture level 1–4 needed; 0: not stated
	Images       []Image
	// Critical names fields (as "name" or "images.name") that a reader must
	// know, or refuse the bundle.
	Critical []string
}

// Image is one image of a bundle and the hashes that everything about it is
// checked against.
type Image struct {
	Name           string // "rootfs", "boot"
	Size           int64  // bytes of the image, a multiple of 512
	SHA256         Digest // of the image
	FrameSize      int64  // bytes of image in each frame but the last, or in the longest
	VariedFrames   int64  // number of frames when they have different lengths; else 0
	FramesSHA256   Digest // of NAME.frames
	BlocksSize     int64  // bytes of NAME.blocks
	BlocksSHA256   Digest // of NAME.blocks
	CompressedSize int64  // bytes of NAME.zst

	Filesystem         string   // "ext4", "xfs", "squashfs", "tar"; empty: unknown
	FilesystemFeatures []string // what a boot loader must know to read it
	KernelArgs         string   // kernel arguments that belong to the image
}

// Image returns the image with that name.
func (m *Manifest) Image(name string) (Image, bool) {
	for _, img := range m.Images {
		if img.Name == name {
			return img, true
		}
	}
	return Image{}, false
}

// ParseManifest parses a manifest, which is canonical JSON. It ignores
// unknown fields unless the manifest calls them critical. It checks no
// signature: see Open and VerifyManifest.
func ParseManifest(b []byte) (*Manifest, error) {
	tree, err := parseCanonical(b)
	if err != nil {
		return nil, formatErrorf("reading the manifest: %w", err)
	}
	o := newObject("manifest", tree)
	// The format decides what every other field means: it comes first.
	if f := o.integer("format", maxInteger); o.err == nil && f != FormatVersion {
		return nil, incompatibleErrorf("the manifest has format %d; this program reads format %d", f, FormatVersion)
	}
	m := &Manifest{
		Format:       FormatVersion,
		Product:      o.text("product"),
		Version:      o.text("version"),
		Compatible:   o.texts("compatible", 64),
		Epoch:        o.integer("epoch", maxInteger),
		MinimumAgent: o.optionalText("minimumAgent"),
		CPULevel:     int(o.optionalInteger("cpuLevel", 4)),
		Critical:     o.optionalTexts("critical", 64),
	}
	imageFields := map[string]bool{}
	for i, v := range o.array("images", maxImages) {
		io := newObject(fmt.Sprintf("manifest: images[%d]", i), v)
		m.Images = append(m.Images, parseImage(io))
		if io.err != nil {
			return nil, formatErrorf("reading the %w", io.err)
		}
		for _, name := range io.known {
			imageFields["images."+name] = true
		}
	}
	if o.err != nil {
		return nil, formatErrorf("reading the %w", o.err)
	}
	for _, name := range o.known {
		imageFields[name] = true
	}
	for _, name := range m.Critical {
		if !imageFields[name] {
			return nil, incompatibleErrorf("the manifest calls the field %q critical, which this program does not know", clip(name))
		}
	}
	if err := m.check(); err != nil {
		return nil, formatErrorf("reading the manifest: %w", err)
	}
	return m, nil
}

func parseImage(o *object) Image {
	return Image{
		Name:               o.text("name"),
		Size:               int64(o.integer("size", maxImageSize)),
		SHA256:             o.digest("sha256"),
		FrameSize:          int64(o.integer("frameSize", MaxFrameSize)),
		VariedFrames:       int64(o.optionalInteger("variedFrames", maxFrames)),
		FramesSHA256:       o.digest("framesSha256"),
		BlocksSize:         int64(o.integer("blocksSize", maxInteger)),
		BlocksSHA256:       o.digest("blocksSha256"),
		CompressedSize:     int64(o.integer("compressedSize", maxInteger)),
		Filesystem:         o.optionalText("filesystem"),
		FilesystemFeatures: o.optionalTexts("filesystemFeatures", 64),
		KernelArgs:         o.optionalText("kernelArgs"),
	}
}

// Marshal returns the canonical JSON of m. Fields that are empty and optional
// are left out.
func (m *Manifest) Marshal() []byte {
	o := map[string]any{
		"format":     uint64(m.Format),
		"product":    m.Product,
		"version":    m.Version,
		"compatible": toAny(m.Compatible),
		"epoch":      m.Epoch,
	}
	setText(o, "minimumAgent", m.MinimumAgent)
	if m.CPULevel != 0 {
		o["cpuLevel"] = uint64(m.CPULevel)
	}
	setTexts(o, "critical", m.Critical)
	images := []any{}
	for _, img := range m.Images {
		images = append(images, img.tree())
	}
	o["images"] = images
	return appendCanonical(nil, o)
}

func (img Image) tree() map[string]any {
	o := map[string]any{
		"name":           img.Name,
		"size":           uint64(img.Size),
		"sha256":         img.SHA256.String(),
		"frameSize":      uint64(img.FrameSize),
		"framesSha256":   img.FramesSHA256.String(),
		"blocksSize":     uint64(img.BlocksSize),
		"blocksSha256":   img.BlocksSHA256.String(),
		"compressedSize": uint64(img.CompressedSize),
	}
	if img.VariedFrames != 0 {
		o["variedFrames"] = uint64(img.VariedFrames)
	}
	setText(o, "filesystem", img.Filesystem)
	setTexts(o, "filesystemFeatures", img.FilesystemFeatures)
	setText(o, "kernelArgs", img.KernelArgs)
	return o
}

func setText(o map[string]any, name, s string) {
	if s != "" {
		o[name] = s
	}
}

func setTexts(o map[string]any, name string, s []string) {
	if len(s) > 0 {
		o[name] = toAny(s)
	}
}
