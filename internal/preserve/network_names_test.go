package preserve

import "testing"

func TestUdevRules(t *testing.T) {
	files := netFiles{"etc/udev/rules.d/70-persistent-net.rules": {readable: true, content: []byte(
		"# c\n\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0C:29:11:22:33\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", NAME:=\"lan\"\n")}}
	n, err := readNames(files, nil)
	if err != nil || n.macOf("lan") != "00:0c:29:11:22:33" || n.nameOf("00:0c:29:11:22:33") != "lan" {
		t.Errorf("%v, %v", n, err)
	}
	for _, bad := range []string{
		`PROGRAM=="/bin/x", NAME="a"`, `RUN+="x"`, `IMPORT{program}="x"`, `NAME="a" RUN="b"`, `GOTO="x"`, `NAME="%c"; reboot`, `ENV{x}="y"`, `TEST=="x"`,
	} {
		files["etc/udev/rules.d/70-persistent-net.rules"] = netFile{readable: true, content: []byte(bad + "\n")}
		if _, err := readNames(files, nil); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
