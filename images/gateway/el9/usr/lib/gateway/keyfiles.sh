#!/bin/sh
# Stands in for NetworkManager, as far as the tests go: static addresses, a
# gateway, routes, name servers. Like that one it ignores profiles that others
# than root may read, and finds a card by its address.
links=$(cd /sys/class/net && grep . */address)
for profile in /etc/NetworkManager/system-connections/*.nmconnection; do
	[ "$(stat -c '%a %u' "$profile")" = "600 0" ] || continue
	awk -v links="$links" -f /usr/lib/gateway/keyfile.awk "$profile" | ip -batch -
done
