package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newSystemCalls are those that Linux 3.10, the kernel of EL7, does not have
// and a Go program might try.
var newSystemCalls = []string{
	"sched_setattr", "renameat2", "getrandom", "memfd_create", "execveat", "membarrier", "copy_file_range",
	"preadv2", "pwritev2", "statx", "rseq", "pidfd_send_signal", "io_uring_setup", "clone3", "pidfd_open",
	"close_range", "openat2", "pidfd_getfd", "faccessat2", "epoll_pwait2",
}

// TestOldKernel runs the update of a disk with every system call since Linux
// 3.10 answering ENOSYS: each must have a fallback.
func TestOldKernel(t *testing.T) {
	f := getFactory(t)
	disk := f.device(t)
	trace := filepath.Join(t.TempDir(), "trace")
	args := []string{
		"-f", "-qq", "-o", trace, "-e", "trace=" + strings.Join(newSystemCalls, ","),
		"-e", "inject=" + strings.Join(newSystemCalls, ",") + ":error=ENOSYS", os.Args[0], "--disk", disk, "apply", f.v2,
	}
	cmd := exec.Command("strace", args...)
	cmd.Env = append(os.Environ(), "ABUPDATE_TEST_MAIN=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	if s := status(t, disk); s["next"] != "b" {
		t.Errorf("status %v", s)
	}
	// Which of them are tried at all depends on Go's run time and on the kernel.
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatalf("strace left no trace: %v", err)
	}
	t.Logf("%d calls were refused", strings.Count(string(b), "(INJECTED)"))
}
