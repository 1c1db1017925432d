#!/bin/sh
# What init runs first. It ends with one line on the console that says which
# system this is; the variant then decides how well it fares.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
hostname -F /etc/hostname

# argument NAME prints the value of NAME= on the kernel command line.
argument() {
	for w in $(cat /proc/cmdline); do
		case $w in "$1"=*) echo "${w#*=}" ;; esac
	done
}

# watchdog SECONDS loads a watchdog: a real one where the machine has one, else
# the kernel's own. It does nothing until somebody opens it.
watchdog() {
	insmod $modules/watchdog.ko 2>/dev/null
	insmod $modules/i6300esb.ko heartbeat="$1" 2>/dev/null
	[ -e /dev/watchdog ] || insmod $modules/softdog.ko soft_margin="$1"
}

. /etc/os-release
root=$(awk '$2 == "/" { print $1 }' /proc/mounts)
echo "tiny: version=$VERSION_ID slot=$(argument ab.slot) why=$(argument ab.why) seq=$(argument ab.seq) root=$root" >/dev/console

modules=/usr/lib/tiny/modules
case $(cat /usr/lib/tiny/variant) in
panics)
	echo c >/proc/sysrq-trigger
	;;
hangs)
	watchdog 4
	exec 3>/dev/watchdog
	echo "tiny: hanging" >/dev/console
	while :; do sleep 3600; done
	;;
esac

watchdog 60
for m in failover net_failover virtio_net; do insmod $modules/$m.ko; done
. /etc/sysconfig/network-scripts/ifcfg-eth0
ip link set lo up
ip address add "$IPADDR/$PREFIX" dev "$DEVICE"
ip link set "$DEVICE" up
ip route add default via "$GATEWAY"
echo "nameserver $DNS1" >/etc/resolv.conf
echo "tiny: up" >/dev/console
