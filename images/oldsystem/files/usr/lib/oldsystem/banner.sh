#!/bin/sh
# One line on the console that says which system has started, and by whom.
slot=none
for w in $(cat /proc/cmdline); do
	case $w in ab.slot=*) slot=${w#*=} ;; esac
done
root=$(awk '$2 == "/" { print $1 }' /proc/mounts)
echo "oldsystem: layout=$(cat /etc/oldsystem) slot=$slot root=$root" >/dev/console
