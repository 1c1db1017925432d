#!/bin/sh
# Stands in for the script of that name in CentOS 7's initscripts, as far as
# the tests go: static addresses, a gateway, routes, name servers. Like that
# one it sources its files.
cd /etc/sysconfig/network-scripts || exit 1
. "./ifcfg-$1"
[ "$ONBOOT" = no ] && exit 0
link=${DEVICE%%:*}
[ "$link" = "$DEVICE" ] && ip address flush dev "$link"
ip link set dev "$link" up
ip address add "$IPADDR/$PREFIX" brd + dev "$link" label "$DEVICE"
[ -n "$GATEWAY" ] && ip route replace default via "$GATEWAY" dev "$link"
if [ -f "route-$1" ]; then
	grep -v '^#' "route-$1" | while read -r route; do ip route add $route; done
fi
if [ -n "$DNS1" ]; then
	{
		[ -n "$DOMAIN" ] && echo "search $DOMAIN"
		for server in $DNS1 $DNS2 $DNS3; do echo "nameserver $server"; done
	} >/etc/resolv.conf
fi
