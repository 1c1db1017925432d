package preserve

// sshdLogin are the keywords that decide who can log in. Their effect is
// carried even where the old system says it by a default.
var sshdLogin = []string{
	"port", "addressfamily", "listenaddress", "permitrootlogin", "passwordauthentication", "pubkeyauthentication",
	"permitemptypasswords", "allowusers", "denyusers", "allowgroups", "denygroups", "authorizedkeysfile",
	"challengeresponseauthentication", "authenticationmethods",
}

// sshdKnown are further keywords that mean the same to every sshd since EL7's.
var sshdKnown = []string{
	"acceptenv", "allowagentforwarding", "allowstreamlocalforwarding", "allowtcpforwarding", "authorizedkeyscommand",
	"authorizedkeyscommanduser", "authorizedprincipalsfile", "banner", "chrootdirectory", "clientalivecountmax",
	"clientaliveinterval", "compression", "fingerprinthash", "forcecommand", "gatewayports", "gssapiauthentication",
	"gssapicleanupcredentials", "gssapistrictacceptorcheck", "hostbasedauthentication", "hostcertificate", "hostkey", "ignorerhosts",
	"ignoreuserknownhosts", "ipqos", "kerberosauthentication", "kerberosorlocalpasswd", "kerberosticketcleanup", "logingracetime",
	"loglevel", "maxauthtries", "maxsessions", "maxstartups", "permitopen", "permittty", "permittunnel",
	"permituserenvironment", "permituserrc", "printlastlog", "printmotd", "rekeylimit", "revokedkeys", "streamlocalbindmask",
	"streamlocalbindunlink", "strictmodes", "syslogfacility", "tcpkeepalive", "trustedusercakeys", "usedns", "usepam",
	"versionaddendum", "x11displayoffset", "x11forwarding", "x11uselocalhost",
}

// sshdGone are keywords without effect in every sshd since EL8's.
var sshdGone = []string{
	"protocol", "useprivilegeseparation", "keyregenerationinterval", "serverkeybits", "rsaauthentication",
	"rhostsrsaauthentication", "uselogin", "showpatchlevel", "authorizedkeysfile2", "pamauthenticationviakbdint", "useblacklist",
}

// sshdAlgorithms are lists of algorithms: one that the new sshd does not know
// keeps it from starting.
var sshdAlgorithms = []string{
	"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "hostbasedacceptedalgorithms", "casignaturealgorithms",
}

// sshdDefault is what sshd does when its configuration says nothing.
func sshdDefault(key string, r Release) string {
	switch key {
	case "port":
		return "22"
	case "addressfamily":
		return "any"
	case "permitrootlogin":
		if r.Major == 7 || r.Major == 6 {
			return "yes" // as EL patched it
		}
		return "prohibit-password"
	case "passwordauthentication", "pubkeyauthentication", "challengeresponseauthentication":
		return "yes"
	case "permitemptypasswords":
		return "no"
	case "authorizedkeysfile":
		return ".ssh/authorized_keys .ssh/authorized_keys2"
	}
	return ""
}
