#!/bin/sh
# One line on the console that says which system has started, and why.
argument() {
	for w in $(cat /proc/cmdline); do
		case $w in "$1"=*) echo "${w#*=}" ;; esac
	done
}
. /etc/os-release
root=$(awk '$2 == "/" { print $1 }' /proc/mounts)
echo "gateway: version=$BUILD_ID slot=$(argument ab.slot) why=$(argument ab.why) root=$root" >/dev/console
