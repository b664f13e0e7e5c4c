package kubevip

// What several rows say.
const (
	written  = "kube-vip writes it, and kvip does not read it"
	onlyDHCP = "it belongs to addresses from DHCP, which kvip refuses"
)

var annotations = []Annotation{
	{Name: annotationPrefix + "ignore", Meaning: "`true`: kvip leaves the Service alone",
		set: func(w *ServiceSettings, value string) error { w.Ignore = isTrue(value); return nil }},
	{Name: ShareKey, Meaning: "the addresses that the Service gets; Services may share one if their ports differ. `0.0.0.0` and `::`, for DHCP, are refused",
		set: wantedAddresses},
	{Name: annotationPrefix + "serviceInterface", Meaning: "the interface for its addresses, whatever its subnets; `auto` is as if nothing were said", set: wantedInterface},
	{Name: annotationPrefix + "vipHost", Meaning: "the node that kube-vip announced it from; kvip does not write it, `kvip status service` says which node it is",
		set: func(w *ServiceSettings, value string) error { w.Host = value; return nil }},
	{Name: annotationPrefix + "leaseName", Meaning: "Services that share an address are on one node anyway"},
	{Name: annotationPrefix + "allow-reconcile-without-endpoints", Meaning: "a Service gets its address with and without endpoints"},

	{Name: annotationPrefix + "serviceVLAN", Support: Unsupported, Meaning: "no VLAN interface is made; where the nodes have one whose network contains the address, kvip takes that"},
	{Name: annotationPrefix + "forcePerServiceElection", Support: Unsupported, Meaning: "addresses are spread over the nodes without an election for each Service", boolean: true},
	{Name: annotationPrefix + "ignore-service-security", Support: Unsupported, Meaning: "an address answers on the ports of its Services only, always", boolean: true},
	{Name: annotationPrefix + "flush-conntrack", Support: Unsupported, Meaning: "connections are not forgotten when an address moves", boolean: true},
	{Name: annotationPrefix + "forwardUPNP", Support: Unsupported, Meaning: "no ports are opened on a gateway", boolean: true},
	{Name: annotationPrefix + "upnp-lease-duration", Support: Unsupported, Meaning: "no ports are opened on a gateway", of: annotationPrefix + "forwardUPNP"},
	{Name: annotationPrefix + "egress", Support: Unsupported, Meaning: noEgress, boolean: true},
	{Name: annotationPrefix + "egress-internal", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-ipv6", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-destination-ports", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-source-ports", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-allowed-networks", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-denied-networks", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-no-internal-traffic", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "egress-detect-api-server", Support: Unsupported, Meaning: noEgress, of: annotationPrefix + "egress"},
	{Name: annotationPrefix + "ddns", Support: Unsupported, Meaning: "no DNS server is told of an address", boolean: true},
	{Name: annotationPrefix + "loadbalancerHostname", Support: Unsupported, Meaning: noDHCP + " that could send a host name"},

	{Name: annotationPrefix + "requestedIP", Meaning: onlyDHCP},
	{Name: annotationPrefix + "hwaddr", Meaning: onlyDHCP},
	{Name: annotationPrefix + "macvlanName", Meaning: onlyDHCP},
	{Name: annotationPrefix + "dhcp-broadcast", Meaning: onlyDHCP},
	{Name: annotationPrefix + "rp_filter", Meaning: onlyDHCP},
	{Name: annotationPrefix + "active-endpoint", Meaning: written},
	{Name: annotationPrefix + "active-endpoint-ipv6", Meaning: written},
	{Name: annotationPrefix + "egress-nftables-table", Meaning: written},
}
