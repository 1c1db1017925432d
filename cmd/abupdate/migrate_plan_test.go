package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/test/olddisk"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// migratePlanRun runs the verb in this process, as run does.
func migratePlanRun(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr}
	a.ui = newUI(&stdout, &stderr)
	root := newRootCommand(a)
	if c, _, err := root.Find([]string{"migrate"}); err != nil || c == root {
		c := newMigrateCommand(a)
		root.AddCommand(c)
		a.watch(c)
	}
	root.SetArgs(append([]string{"migrate", "plan"}, args...))
	err := root.ExecuteContext(t.Context())
	if err != nil && !a.started {
		err = usageError{err: err}
	}
	o := outcome{code: codeDone}
	var done exitStatus
	switch {
	case errors.As(err, &done):
		o.code = int(done)
	case err != nil:
		o.code = a.ui.fail(err)
	}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	return o
}

// TestMigratePlanGolden: the words and drawings for each layout.
func TestMigratePlanGolden(t *testing.T) {
	for name, d := range olddisk.Layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := d.Make(t)
			o := migratePlanRun(t, "--disk", disk, "--slot-size", "2GiB")
			if o.code != codeDone || o.stderr != "" {
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
			golden := filepath.Join("testdata", "migrate", name+".txt")
			got := strings.ReplaceAll(o.stdout, disk, "disk.img")
			if *updateGolden {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestMigratePlanJSON(t *testing.T) {
	o := migratePlanRun(t, "--json", "--disk", olddisk.Layouts["L3"].Make(t), "--slot-size", "7GiB")
	lines := bytes.Split(bytes.TrimSpace([]byte(o.stdout)), []byte("\n"))
	if o.code != codeMigration || len(lines) != 2 {
		t.Fatalf("exit code %d, %d lines\n%s%s", o.code, len(lines), o.stdout, o.stderr)
	}
	var plan struct {
		Type          string
		FormatVersion int
		Layout        string
		Now           []struct{ Name string }
		Refusals      []struct{ Code, Reason, Next string }
		Notes         []string
	}
	var last result
	if err := json.Unmarshal(lines[0], &plan); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(lines[1], &last); err != nil {
		t.Fatal(err)
	}
	if plan.Type != "plan" || plan.FormatVersion != 1 || plan.Layout != "L3" || len(plan.Now) == 0 || len(plan.Refusals) == 0 {
		t.Errorf("%+v", plan)
	}
	if last.Type != "result" || last.Code != codeMigration || last.Error == nil || last.Error.Hint == "" {
		t.Errorf("%+v", last)
	}
}

func TestMigratePlanOnOtherDisks(t *testing.T) {
	f := getFactory(t)
	emptyDisk := olddisk.Disk{Size: 64}.Make(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"an A/B device":    {[]string{"--disk", f.disk}, codeMigration, "this is an A/B device already"},
		"an empty disk":    {[]string{"--disk", emptyDisk}, codeMigration, "there is no system to migrate"},
		"a file too small": {[]string{"--disk", f.keyring}, codeMigration, "cannot be migrated"},
		"no disk at all":   {[]string{"--disk", f.dir + "/none"}, codeFailed, "no such file"},
		"a directory":      {[]string{"--disk", f.dir}, codeUsage, "no regular file"},
		"another tier":     {[]string{"--disk", emptyDisk, "--tier", "copy"}, codeUsage, "carve or gather"},
		"another size":     {[]string{"--disk", emptyDisk, "--slot-size", "large"}, codeUsage, "large"},
		"two sources":      {[]string{"--disk", emptyDisk, "a", "b"}, codeUsage, "at most 1"},
		"standard input":   {[]string{"--disk", emptyDisk, "-"}, codeUsage, "not from standard input"},
		"no bundle":        {[]string{"--disk", emptyDisk, f.keyring}, codeFormat, "K.json"},
	} {
		t.Run(name, func(t *testing.T) {
			if o := migratePlanRun(t, tc.args...); o.code != tc.code || !strings.Contains(o.stdout+o.stderr, tc.says) {
				t.Errorf("exit code %d, want %d with %q\n%s%s", o.code, tc.code, tc.says, o.stdout, o.stderr)
			}
		})
	}
	o := migratePlanRun(t, "--disk", olddisk.Layouts["L3"].Make(t), f.v2)
	if o.code != codeDone || !strings.Contains(o.stdout, "gw 2.0.0, image 8.0 MiB") {
		t.Errorf("with a bundle: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
