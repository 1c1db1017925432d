#!/bin/sh
# Stands in for CentOS 7's network service: eth0 before its alias eth0:1.
cd /etc/sysconfig/network-scripts || exit 1
for file in ifcfg-eth*; do
	./ifup-eth "${file#ifcfg-}"
done
