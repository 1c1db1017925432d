package initramfs

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// moduleSet is what depmod and the kernel's build say of the modules of one
// kernel. Modules go by the name that the kernel has for them, with _ for -.
type moduleSet struct {
	dir     string              // within the root
	file    map[string]string   // module → file within dir
	depends map[string][]string // module → all that it needs, as modprobe finds it
	before  map[string][]string // soft dependencies: modules or aliases
	aliases []alias
	builtin map[string]bool
}

type alias struct{ pattern, module string }

// moduleDirs are where a kernel's modules lie; os.Root does not follow the
// absolute link that /lib may be.
var moduleDirs = []string{"usr/lib/modules", "lib/modules"}

func readModules(root *os.Root, release string) (*moduleSet, error) {
	s := &moduleSet{
		file: map[string]string{}, depends: map[string][]string{}, before: map[string][]string{}, builtin: map[string]bool{},
	}
	for _, dir := range moduleDirs {
		if _, err := root.Stat(path.Join(dir, release, "modules.dep")); err == nil {
			s.dir = path.Join(dir, release)
			break
		}
	}
	if s.dir == "" {
		return nil, fmt.Errorf("kernel %s has no modules.dep in /lib/modules: reboot into an installed kernel first", release)
	}
	for name, line := range map[string]func(string){
		"modules.dep": s.dependency, "modules.alias": s.alias, "modules.softdep": s.softDependency, "modules.builtin": s.builtIn,
	} {
		err := eachLine(root, path.Join(s.dir, name), line)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && name != "modules.dep") {
			return nil, err
		}
	}
	return s, nil
}

func eachLine(root *os.Root, name string, do func(string)) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := lines.Text(); line != "" && line[0] != '#' {
			do(line)
		}
	}
	return lines.Err()
}

// moduleName is the module in a file: "kernel/fs/xfs/xfs.ko.xz" is "xfs".
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// dependency reads "kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko …".
func (s *moduleSet) dependency(line string) {
	file, rest, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := moduleName(file)
	s.file[name] = file
	for _, other := range strings.Fields(rest) {
		s.depends[name] = append(s.depends[name], moduleName(other))
	}
}

// alias reads "alias pci:v00001AF4d00001001sv*… virtio_pci".
func (s *moduleSet) alias(line string) {
	if w := strings.Fields(line); len(w) == 3 && w[0] == "alias" {
		// path.Match gives / a meaning that aliases do not know.
		s.aliases = append(s.aliases, alias{strings.ReplaceAll(w[1], "/", "\x01"), strings.ReplaceAll(w[2], "-", "_")})
	}
}

// softDependency reads "softdep libcrc32c pre: crc32c post: …".
func (s *moduleSet) softDependency(line string) {
	w := strings.Fields(line)
	if len(w) < 3 || w[0] != "softdep" {
		return
	}
	name, pre := strings.ReplaceAll(w[1], "-", "_"), false
	for _, word := range w[2:] {
		switch {
		case word == "pre:", word == "post:":
			pre = word == "pre:"
		case pre:
			s.before[name] = append(s.before[name], word)
		}
	}
}

func (s *moduleSet) builtIn(line string) { s.builtin[moduleName(line)] = true }

// resolve returns the modules that an alias, or a module's name, stands for.
func (s *moduleSet) resolve(name string) []string {
	if plain := strings.ReplaceAll(name, "-", "_"); s.file[plain] != "" {
		return []string{plain}
	}
	var found []string
	text := strings.ReplaceAll(name, "/", "\x01")
	for _, a := range s.aliases {
		// Nearly all aliases begin with another word: do not match those.
		if fixed, _, wild := strings.Cut(a.pattern, "*"); !wild && a.pattern != text || !plainPrefix(fixed, text) {
			continue
		}
		if ok, err := path.Match(a.pattern, text); err == nil && ok {
			found = append(found, a.module)
		}
	}
	return found
}

// plainPrefix reports whether text may match what begins with fixed.
func plainPrefix(fixed, text string) bool {
	if i := strings.IndexAny(fixed, `?[\`); i >= 0 {
		fixed = fixed[:i]
	}
	return strings.HasPrefix(text, fixed)
}

// maxModule bounds a module in memory; the largest driver of today has 10 MiB.
const maxModule = 64 << 20

// read returns a module's code, uncompressed: kernels before 5.17, and later
// ones by their configuration, load no other, and there is no program in the
// initramfs that could do it for them.
func (s *moduleSet) read(root *os.Root, name string) ([]byte, error) {
	file := path.Join(s.dir, s.file[name])
	f, err := openLinked(root, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompressor(file, f)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", file, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("/%s: %w", file, err)
	case len(b) > maxModule:
		return nil, fmt.Errorf("/%s: more than %d bytes", file, maxModule)
	case !strings.HasPrefix(string(b[:min(len(b), 4)]), "\x7fELF"):
		return nil, fmt.Errorf("/%s: not a module", file)
	}
	return b, nil
}

// openLinked opens a file that may be an absolute link within the root, as
// weak-updates has them; os.Root takes such a link for an escape.
func openLinked(root *os.Root, name string) (*os.File, error) {
	for range 8 {
		target, err := root.Readlink(name)
		if err != nil || !path.IsAbs(target) {
			break
		}
		name = strings.TrimPrefix(path.Clean(target), "/")
		// /lib is such a link itself on most systems.
		if rest, ok := strings.CutPrefix(name, "lib/"); ok {
			name = "usr/lib/" + rest
		}
	}
	return root.Open(name)
}

func decompressor(file string, r io.Reader) (io.Reader, error) {
	switch path.Ext(file) {
	case ".xz":
		return xz.NewReader(bufio.NewReader(r))
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
	}
	return r, nil
}
