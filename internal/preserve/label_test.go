package preserve

import "testing"

// contextsFixture are lines as EL9's targeted policy has them.
const contextsFixture = `
-- old/etc/passwd --
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000::/home/alice:/bin/bash
-- old/etc/group --
root:x:0:
alice:x:1000:
-- old/etc/abupdate/preserve.d/site.toml --
[[path]]
path = "/opt/acme/**"
[[path]]
path = "/srv/site/**"
[[path]]
path = "/usr/lib64/acme.conf"
-- old/opt/acme/conf --
x
-- old/opt/acme/sub/conf --
x
-- old/opt/acme/link -> conf --
-- old/srv/site/data --
x
-- old/usr/lib64/acme.conf --
x
-- old/home/alice/ 0700 1000:1000 --
-- old/home/alice/.ssh/ 0700 1000:1000 --
-- old/home/alice/.ssh/authorized_keys 0600 1000:1000 --
key
-- new/bin/bash 0755 --
-- new/etc/selinux/config --
SELINUX=enforcing
SELINUXTYPE=targeted
-- new/etc/selinux/targeted/contexts/files/file_contexts --
/.*	system_u:object_r:default_t:s0
/[^/]+	--	system_u:object_r:etc_runtime_t:s0
/etc/.*	system_u:object_r:etc_t:s0
/etc/shadow.*	--	system_u:object_r:shadow_t:s0
/etc/passwd[-\+]?	--	system_u:object_r:passwd_file_t:s0
/etc/group[-\+]?	--	system_u:object_r:passwd_file_t:s0
/opt/.*	system_u:object_r:usr_t:s0
/opt/acme/link	-l	system_u:object_r:bin_t:s0
/opt/acme/sub	-d	system_u:object_r:acme_dir_t:s0
/opt/(acme|other)/conf	--	system_u:object_r:acme_t:s0
/srv/site(/.*)?	<<none>>
/usr/lib/.*	system_u:object_r:lib_t:s0
/broken(	system_u:object_r:x_t:s0
# /etc/.*	system_u:object_r:comment_t:s0
-- new/etc/selinux/targeted/contexts/files/file_contexts.homedirs --
/home/[^/]+	-d	unconfined_u:object_r:user_home_dir_t:s0
/home/[^/]+/.+	unconfined_u:object_r:user_home_t:s0
/home/[^/]+/\.ssh(/.*)?	unconfined_u:object_r:ssh_home_t:s0
-- new/etc/selinux/targeted/contexts/files/file_contexts.subs_dist --
/usr/lib64 /usr/lib
-- new/etc/passwd --
root:x:0:0:root:/root:/bin/bash
-- new/etc/group --
root:x:0:
-- new/srv/ --
`

func TestLabels(t *testing.T) {
	trees, _ := parseFixture(t, contextsFixture)
	trees["new"].nodes["srv"].xattrs = map[string]string{xattrLabel: "system_u:object_r:var_t:s0\x00"}
	p := mustPlan(t, trees["old"], trees["new"])
	want := map[string]string{
		"etc/passwd":                      "system_u:object_r:passwd_file_t:s0",
		"etc/shadow":                      "system_u:object_r:shadow_t:s0",
		"etc/abupdate/preserve.d":         "system_u:object_r:etc_t:s0",
		"opt/acme/conf":                   "system_u:object_r:acme_t:s0",
		"opt/acme/sub":                    "system_u:object_r:acme_dir_t:s0",
		"opt/acme/sub/conf":               "system_u:object_r:usr_t:s0",
		"opt/acme/link":                   "system_u:object_r:bin_t:s0",
		"srv/site/data":                   "system_u:object_r:var_t:s0", // none by the policy: as the directory above
		"usr/lib64/acme.conf":             "system_u:object_r:lib_t:s0",
		"home/alice":                      "unconfined_u:object_r:user_home_dir_t:s0",
		"home/alice/.ssh":                 "unconfined_u:object_r:ssh_home_t:s0",
		"home/alice/.ssh/authorized_keys": "unconfined_u:object_r:ssh_home_t:s0",
	}
	for _, op := range p.Ops {
		if label, ok := want[op.Path]; ok {
			if op.Xattrs[xattrLabel] != label+"\x00" {
				t.Errorf("/%s: %q, want %q", op.Path, op.Xattrs[xattrLabel], label)
			}
			delete(want, op.Path)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the plan: %v", want)
	}
}

// TestAttack_RestoreLabel: the old system's labels stay behind, also where
// the new one has no policy at all.
func TestAttack_RestoreLabel(t *testing.T) {
	old, new := elTrees(t)
	for _, n := range old.nodes {
		n.xattrs = map[string]string{xattrLabel: "old_u:object_r:old_t:s0\x00", "security.ima": "x", "trusted.overlay.opaque": "y"}
	}
	for _, op := range mustPlan(t, old, new).Ops {
		if len(op.Xattrs) > 0 {
			t.Errorf("/%s: %q", op.Path, op.Xattrs)
		}
	}
}

func TestACL(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/passwd --
root:x:0:0:root:/root:/bin/bash
chrony:x:998:996::/:/sbin/nologin
-- old/etc/group --
root:x:0:
chrony:x:996:
-- old/etc/abupdate/preserve.d/site.toml --
[[path]]
path = "/etc/acme"
-- old/etc/acme 0640 998:996 --
x
-- new/etc/passwd --
root:x:0:0:root:/root:/bin/bash
chrony:x:990:989::/:/sbin/nologin
-- new/etc/group --
root:x:0:
chrony:x:989:
`)
	acl := func(uid, gid byte) string {
		return "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00" + string([]byte{uid, 3, 0, 0}) + "\x08\x00\x04\x00" + string([]byte{gid, 3, 0, 0})
	}
	trees["old"].nodes["etc/acme"].xattrs = map[string]string{xattrACL: acl(998&0xff, 996&0xff), "system.posix_acl_default": "garbage"}
	for _, op := range mustPlan(t, trees["old"], trees["new"]).Ops {
		if op.Path == "etc/acme" && (op.Xattrs[xattrACL] != acl(990&0xff, 989&0xff) || len(op.Xattrs) != 1 || op.UID != 990 || op.GID != 989) {
			t.Errorf("%q, %d:%d", op.Xattrs, op.UID, op.GID)
		}
	}
}
