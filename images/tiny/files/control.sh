#!/bin/sh
# A shell for programs on the second serial line: no prompt, no echo, and no
# kernel message in between. Its stdin is a pipe so that it is not interactive.
stty raw -echo
echo "control: ready"
cat | sh
