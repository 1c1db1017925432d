package bootctl

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var someParams = GrubParams{
	ID: "4f1c2a90", Scheme: SchemeGPT, BootPart: 3, APart: 4, BPart: 5,
	PartUUIDA: "0fc63daf-8483-4772-8e79-3d69d8477de4", PartUUIDB: "0fc63daf-8483-4772-8e79-3d69d8477de5",
	StateLBA: 123456, Commands: CommandsLinux, Serial: true,
}

func TestRenderGrubConfig(t *testing.T) {
	b, err := RenderGrubConfig(someParams)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`set ab_id="/abupdate/id-4f1c2a90"`,
		`set ab_part_boot="gpt3"`, `set ab_part_a="gpt4"`, `set ab_part_b="gpt5"`,
		`set ab_root_a="root=PARTUUID=0fc63daf-8483-4772-8e79-3d69d8477de4"`,
		`set ab_state="123456"`, `set ab_commands="linux"`, `set ab_serial="1"`,
	} {
		if !strings.Contains(string(b), "\n"+line+"\n") {
			t.Errorf("the line %s is missing", line)
		}
	}
	if m := regexp.MustCompile(`@[A-Z_]+@`).Find(b); m != nil {
		t.Errorf("%s was not filled in", m)
	}
}

func TestRenderGrubConfigRefuses(t *testing.T) {
	for name, change := range map[string]func(*GrubParams){
		"id":           func(p *GrubParams) { p.ID = "4f1c2a9" },
		"id quote":     func(p *GrubParams) { p.ID = `4f1c2a9"` },
		"scheme":       func(p *GrubParams) { p.Scheme = "bsd" },
		"commands":     func(p *GrubParams) { p.Commands = "" },
		"partition":    func(p *GrubParams) { p.APart = 0 },
		"no PARTUUID":  func(p *GrubParams) { p.PartUUIDA = "" },
		"bad PARTUUID": func(p *GrubParams) { p.PartUUIDA = `1"; reboot` },
		"same twice":   func(p *GrubParams) { p.PartUUIDA = p.PartUUIDB },
		"state":        func(p *GrubParams) { p.StateLBA = 0 },
	} {
		p := someParams
		change(&p)
		if _, err := RenderGrubConfig(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// scripts are the GRUB scripts that reach devices.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	b, err := RenderGrubConfig(someParams)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"grub.cfg": string(b), "core.cfg": string(CoreScript())}
}

func TestGrubScriptCheck(t *testing.T) {
	tool, err := exec.LookPath("grub-script-check")
	if err != nil {
		t.Fatal("grub-script-check is missing: install the Debian package grub-common")
	}
	for name, text := range scripts(t) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestNoKeyStopsGRUB keeps out whatever reads a key or ends in a prompt.
func TestNoKeyStopsGRUB(t *testing.T) {
	forbidden := regexp.MustCompile(`\b(menuentry|submenu|timeout|interruptible|read|pager=1|terminal_input|normal|halt|exit|password|insmod|true|false|eval|regexp)\b`)
	for name, text := range scripts(t) {
		for i, line := range strings.Split(text, "\n") {
			code, _, _ := strings.Cut(line, "#")
			code = regexp.MustCompile(`echo .*`).ReplaceAllString(code, "")
			if m := forbidden.FindString(code); m != "" {
				t.Errorf("%s:%d: %q in: %s", name, i+1, m, line)
			}
		}
		if !strings.HasSuffix(text, "  sleep 10\n  reboot\ndone\n") {
			t.Errorf("%s does not end in a reset", name)
		}
	}
}

// TestGrubConfigSavesAllItLoads guards a rule that a later change could break
// without a visible failure: a key that is loaded but not saved leaves env1 a
// mixture, one that is saved but not loaded is deleted.
func TestGrubConfigSavesAllItLoads(t *testing.T) {
	keys := strings.Join(envKeys, " ")
	saved := strings.Join(envKeys[1:len(envKeys)-1], " ")
	for _, line := range []string{
		`  load_env --file "($ab_boot)/abupdate/$1" ` + keys,
		`  save_env --file "($ab_boot)/abupdate/env0" ` + saved,
		`  save_env --file "($ab_boot)/abupdate/env1" ` + saved,
		`  load_env --file "($ab_boot)/abupdate/args-$1" ab_fmt ab_args ab_image_args ab_end`,
	} {
		if !strings.Contains(grubTemplate, line+"\n") {
			t.Errorf("grub.cfg has no line %s", line)
		}
	}
	for _, key := range envKeys {
		if !strings.Contains(grubTemplate, "  unset "+key+"\n") {
			t.Errorf("%s is not unset before it is loaded", key)
		}
	}
}

func TestCoreMemdisk(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(CoreMemdisk()))
	head, err := r.Next()
	if err != nil || "(memdisk)/"+head.Name != CorePrefix+"/grub.cfg" {
		t.Fatalf("first entry: %v, %v", head, err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, CoreScript()) {
		t.Errorf("the memdisk does not hold the script: %v", err)
	}
	if !bytes.Equal(CoreMemdisk(), CoreMemdisk()) {
		t.Error("the memdisk differs from call to call")
	}
}
