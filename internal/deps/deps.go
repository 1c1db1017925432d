//go:build never

package deps

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/Masterminds/semver/v3"
	_ "github.com/cavaliergopher/grab/v3"
	_ "github.com/diskfs/go-diskfs/partition/gpt"
	_ "github.com/diskfs/go-diskfs/partition/mbr"
	_ "github.com/diskfs/go-diskfs/backend/file"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/minio/sha256-simd"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/secure-systems-lab/go-securesystemslib/dsse"
	_ "github.com/secure-systems-lab/go-securesystemslib/cjson"
	_ "github.com/spf13/cobra"
	_ "github.com/u-root/u-root/pkg/cpio"
	_ "github.com/vbauerster/mpb/v8"
	_ "github.com/vishvananda/netlink"
	_ "golang.org/x/crypto/ssh"
	_ "golang.org/x/mod/semver"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/time/rate"
)
