#!/bin/busybox sh
# The first program of the tiny appliance: mounts root=PARTUUID=... and starts
# its init. Whatever fails here ends PID 1: the kernel panics, and panic= on
# the command line reboots. It must never ask for anything.
set -e
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
for m in $($bb cat /modules/order); do $bb insmod /modules/$m.ko; done

want=
for w in $($bb cat /proc/cmdline); do
	case $w in root=PARTUUID=*) want=${w#root=PARTUUID=} ;; esac
done

# hex DEVICE OFFSET LENGTH prints bytes, rev HEX turns their order around.
hex() { $bb dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | $bb xxd -p | $bb tr -d '\n'; }
rev() {
	r= s=$1
	while [ -n "$s" ]; do r=${s%"${s#??}"}$r s=${s#??}; done
	echo "$r"
}

# partuuid DISK NUMBER prints a partition's PARTUUID. There is no udev here,
# and busybox's findfs knows only those of filesystems, which both slots share.
partuuid() {
	if [ "$(hex "$1" 450 1)" != ee ]; then
		$bb printf '%s-%02x\n' "$(rev "$(hex "$1" 440 4)")" "$2"
		return
	fi
	entries=$((0x$(rev "$(hex "$1" 584 8)")))
	g=$(hex "$1" $((entries * 512 + ($2 - 1) * 128 + 16)) 16)
	a=${g%"${g#????????}"} g=${g#????????}
	b=${g%"${g#????}"} g=${g#????}
	c=${g%"${g#????}"} g=${g#????}
	d=${g%"${g#????}"} g=${g#????}
	echo "$(rev "$a")-$(rev "$b")-$(rev "$c")-$d-$g"
}

for second in 1 2 3 4 5; do
	for p in /sys/class/block/*/partition; do
		[ -e "$p" ] || continue
		part=${p%/partition}
		disk=$($bb realpath "$part/..")
		[ "$(partuuid "/dev/${disk##*/}" "$($bb cat "$p")")" = "$want" ] || continue
		$bb mount -t "$($bb cat /modules/filesystem)" -o rw "/dev/${part##*/}" /root
		for fs in proc sys dev; do $bb mount -o move /$fs /root/$fs; done
		exec $bb switch_root /root /sbin/init
	done
	$bb sleep 1
done
echo "initramfs: no partition $want"
exit 1
