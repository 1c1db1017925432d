# Prints what a keyfile is to ip(8), and writes its name servers.
BEGIN { FS = "=" }
/^\[/ { group = $0 }
group == "[connection]" && $1 == "interface-name" { link = $2 }
group == "[ethernet]" && $1 == "mac-address" {
	n = split(links, line, "\n")
	for (i = 1; i <= n; i++)
		if (index(line[i], "/address:" tolower($2))) link = substr(line[i], 1, index(line[i], "/") - 1)
}
group != "[ipv4]" { next }
$1 ~ /^address[0-9]+$/ { address[++addresses] = $2 }
$1 == "gateway" { gateway = $2 }
$1 ~ /^route[0-9]+$/ { route[++routes] = $2 }
$1 == "dns-search" { search = $2 }
$1 == "dns" { dns = $2 }
END {
	print "link set dev " link " up"
	for (i = 1; i <= addresses; i++) print "address add " address[i] " brd + dev " link
	if (gateway) print "route replace default via " gateway " dev " link
	for (i = 1; i <= routes; i++) {
		split(route[i], part, ",")
		print "route add " part[1] (part[2] ? " via " part[2] : "") " dev " link
	}
	file = "/etc/resolv.conf"
	sub(";$", "", search); gsub(";", " ", search)
	printf "" >file
	if (search) print "search " search >file
	n = split(dns, server, ";")
	for (i = 1; i <= n; i++) if (server[i]) print "nameserver " server[i] >file
}
