#!/bin/bash
# build.sh 7|8|9 OUT.img SIZE [PACKAGE...]
#
# Builds a root file system of EL7, EL8 or EL9 that keeps abupdate's slot
# contract, as an ext4 image for `abupdate bundle create --rootfs`. Runs as root
# on EL8, EL9 or Fedora with dnf and e2fsprogs. For EL7, whose keys are signed
# with SHA-1, EL9 needs `update-crypto-policies --set LEGACY` first.
#
# NOT RUN by this project's CI, which has no EL: read it before you rely on it.
set -euo pipefail

[ $# -ge 3 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
release=$1 out=$2 size=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
cleanup() {
	for m in proc sys dev; do mountpoint -q "$root/$m" && umount -R "$root/$m"; done
	rm -rf "$root"
}
trap cleanup EXIT

case $release in
7) extra=(initscripts NetworkManager grub2-pc grub2-pc-modules) ;;
8 | 9) extra=(NetworkManager grub2-pc grub2-pc-modules grub2-efi-x64-modules) ;;
*) echo "release $release: must be 7, 8 or 9" >&2; exit 2 ;;
esac

echo "== packages"
dnf -y -q --installroot="$root" --releasever="$release" --setopt=install_weak_deps=0 \
	--setopt=reposdir="$here/repos/$release" --setopt=keepcache=0 install \
	kernel systemd dracut openssh-server selinux-policy-targeted policycoreutils \
	iproute passwd rootfiles "${extra[@]}" "$@"

echo "== abupdate"
rpm --root "$root" --install "$here"/../../build/abupdate-*.x86_64.rpm
cp -r "$here/dracut/95abupdate" "$root/usr/lib/dracut/modules.d/"

echo "== kernel and initramfs"
for m in proc sys dev; do mount --rbind "/$m" "$root/$m"; mount --make-rslave "$root/$m"; done
kernel=$(cd "$root/lib/modules" && ls | sort -V | tail -n 1)
# Generic: one image for every device. Uncompressed: the bundle compresses it,
# and then an update carries only what changed in it.
chroot "$root" dracut --force --no-hostonly --no-compress --add abupdate /boot/initramfs "$kernel"
# Real files: GRUB reads them from the slot, and no link may lead out of it.
if [ -e "$root/lib/modules/$kernel/vmlinuz" ]; then
	cp --remove-destination "$root/lib/modules/$kernel/vmlinuz" "$root/boot/vmlinuz"
else
	cp --remove-destination "$root/boot/vmlinuz-$kernel" "$root/boot/vmlinuz" # EL7
fi
rm -f "$root"/boot/vmlinuz-* "$root"/boot/initramfs-* "$root"/boot/initrd-*
# The root file system comes from the kernel command line, the same image in
# either slot: no entry for it here, by UUID least of all.
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_*
# What is in /etc before anybody has changed it: by this list an update tells
# what is the customer's. Nothing in /etc changes from here on.
mkdir -p "$root/usr/share/abupdate"
"$root/usr/bin/abupdate" preserve defaults --root "$root" >"$root/usr/share/abupdate/defaults.json"

echo "== labels"
chroot "$root" setfiles -F /etc/selinux/targeted/contexts/files/file_contexts / 2>/dev/null
for m in proc sys dev; do umount -R "$root/$m"; done

echo "== $out"
# Only features that the GRUB of EL7 reads. The UUID is the same in every image:
# slots are never told apart by it.
"$here/../ext4/mkext4" "$root" "$out" "$size" 6a7e0000-0000-4000-8000-000000000003 \
	-O '^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file'
e2fsck -fn "$out"
echo "done: kernel $kernel, $(du -h "$out" | cut -f1) used"
