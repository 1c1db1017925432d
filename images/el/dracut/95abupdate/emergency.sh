#!/bin/sh
# Sourced where dracut would open its emergency shell.
#
# dracut 049 and 057 (EL8, EL9) obey rd.shell=0 rd.emergency=reboot, which
# abupdate's grub.cfg gives. dracut 033 (EL7) knows no rd.emergency, but runs
# this hook first. /proc/sysrq-trigger needs no
# program that this initramfs may lack, and nothing is mounted that a sync
# would help.
if getarg ab.slot= >/dev/null; then
	warn "abupdate: this system does not start; rebooting in 10 s"
	sleep 10
	echo 1 >/proc/sys/kernel/sysrq
	echo b >/proc/sysrq-trigger
fi
