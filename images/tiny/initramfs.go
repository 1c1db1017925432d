package tiny

import (
	"bytes"
	"debug/elf"
	"os"
	"slices"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/abupdate/abupdate/images/kernel"
)

// makeInitramfs packs the modules that reach the disk, busybox and a script
// that mounts root=PARTUUID=…. It stays uncompressed: the kernel starts
// sooner, and a delta finds its blocks again.
func makeInitramfs(k *kernel.Kernel, busybox []byte, f Filesystem) ([]byte, error) {
	var order bytes.Buffer
	records := []cpio.Record{
		cpio.Directory("bin", 0o755),
		cpio.Directory("dev", 0o755),
		cpio.Directory("modules", 0o755),
		cpio.Directory("proc", 0o755),
		cpio.Directory("root", 0o755),
		cpio.Directory("sys", 0o755),
		// The kernel opens it for PID 1 before anything is mounted.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.StaticFile("bin/busybox", string(busybox), 0o755),
		cpio.StaticFile("init", string(initramfsScript), 0o755),
	}
	for _, name := range modules(k, slices.Concat(storageModules, f.modules())) {
		data, err := os.ReadFile(k.Module(name))
		if err != nil {
			return nil, err
		}
		records = append(records, cpio.StaticFile("modules/"+name+".ko", string(data), 0o644))
		order.WriteString(name + "\n")
	}
	records = append(records,
		cpio.StaticFile("modules/order", order.String(), 0o644),
		cpio.StaticFile("modules/filesystem", f.String()+"\n", 0o644))

	var out bytes.Buffer
	w := cpio.Newc.Writer(&out)
	if err := cpio.WriteRecords(w, records); err != nil {
		return nil, err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// isStatic reports whether an ELF program needs no dynamic linker.
func isStatic(program []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
