#!/bin/sh
# The orderly shutdown: a written update is armed here and nowhere else, so a
# reset before it boots the running slot.
[ ! -x /usr/bin/abupdate ] || abupdate arm >/dev/console 2>&1
umount -a -r
