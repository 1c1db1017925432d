#!/bin/sh
# No prompt and no echo; its input is a pipe so that it is not interactive.
stty raw -echo
echo "control: ready"
cat | sh
