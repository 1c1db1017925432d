#!/bin/sh
# A shell for programs on the second serial line: no prompt, no echo, and no
# kernel message in between. (`cat | sh` is no way to do it: cat moves the
# bytes with sendfile, and sh does not always wake up.)
stty raw -echo
echo "control: ready"
while IFS= read -r line; do eval "$line"; done
