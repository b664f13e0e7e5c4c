package kubevip

// What several rows say.
const (
	noBGP      = "there is no BGP"
	noIPVS     = "there is no load balancing between API servers; the node that has the address serves it"
	noDHCP     = "there is no DHCP client"
	noEgress   = "what pods send is left as the network plugin makes it"
	noRaft     = "there is no raft cluster; the election is by a Lease"
	noTable    = "routes are not announced"
	noMetal    = "no cloud's API is asked for an address"
	noWatch    = "kvip finds the API server on its node and watches it by itself"
	onlyWay    = "it is the only way of announcing that is on"
	oldService = "it is of kube-vip before 0.4"
	unread     = "kvip does not read it"
	noProxy    = "kvip connects to API servers directly"
)

// without are the variables that kvip names at start, and those with which it does not start.
var without = []Variable{
	{Name: "vip_renewdeadline", Flag: "leaseRenewDuration", Support: Unsupported, Meaning: "the holder gives up shortly before its lease ends; there is no time of its own for that"},
	{Name: "vip_leaseannotations", Support: Unsupported, Meaning: "the Lease gets no annotations but kvip's own"},
	{Name: "vip_subnet", Flag: "vipSubnet", Support: Unsupported, Meaning: "an address has the prefix length 32, or 128", same: []string{"32", "/32", "128", "/128", "32,128", "/32,/128"}},
	{Name: "vip_cidr", Flag: "cidr", Support: Unsupported, Meaning: "an address has the prefix length 32, or 128", same: []string{"32", "/32", "128", "/128"}},
	{Name: "vip_arpRate", Support: Unsupported, Meaning: "announcements have a pace of their own"},
	{Name: "vip_interfaceloglobal", Flag: "loInterfaceGlobalScope", Boolean: true, Support: Unsupported, Meaning: "addresses are not put on the loopback"},
	{Name: "vip_loseleadership", Boolean: true, Support: Unsupported, Meaning: "a node without a usable link always gives the address up", same: []string{"true"}},
	{Name: "vip_preserve_on_leadership_loss", Boolean: true, Support: Unsupported, Meaning: "a node that has lost the lease always removes the address"},
	{Name: "vip_skipdad", Boolean: true, Support: Unsupported, Meaning: "addresses are always put on without duplicate address detection; kvip asks the network itself", same: []string{"true"}},
	{Name: "dns_mode", Flag: "dnsMode", Support: Unsupported, Meaning: "no names are looked up", same: []string{"first"}},
	{Name: "vip_ddns", Flag: "ddns", Boolean: true, Support: Refused, Meaning: noDHCP + ", and no names are looked up; write the address that is meant", Requires: "cp_enable"},
	{Name: "dhcp_mode", Support: Unsupported, Meaning: noDHCP},
	{Name: "cp_detect", Flag: "autodetectcp", Boolean: true, Support: Unsupported, Meaning: noWatch, same: []string{"true"}, Requires: "cp_enable"},
	{Name: "kubernetes_addr", Support: Unsupported, Meaning: noWatch},
	{Name: "control_plane_health_check_address", Support: Unsupported, Meaning: noWatch + "; `--health-url` names another page", Requires: "cp_enable"},
	{Name: "control_plane_health_check_period_seconds", Support: Unsupported, Meaning: noWatch, Requires: "cp_enable"},
	{Name: "control_plane_health_check_timeout_seconds", Support: Unsupported, Meaning: noWatch, Requires: "cp_enable"},
	{Name: "control_plane_health_check_failure_threshold", Support: Unsupported, Meaning: noWatch, Requires: "cp_enable"},
	{Name: "control_plane_health_check_ca_path", Support: Unsupported, Meaning: noWatch, Requires: "cp_enable"},
	{Name: "config_file", Flag: "config-file", Support: Refused, Meaning: "its settings would be lost; write them as variables"},

	{Name: "svc_election", Flag: "servicesElection", Boolean: true, Support: Unsupported, Meaning: "addresses are spread over the nodes without an election for each Service; kvip leaves a Service to a kube-vip that renews the Service's own lease", Requires: "svc_enable"},
	{Name: "per_service_election_on_demand", Boolean: true, Support: Unsupported, Meaning: "addresses are spread over the nodes without an election for each Service", Requires: "svc_enable"},
	{Name: "enable_node_labeling", Flag: "enableNodeLabeling", Boolean: true, Support: Unsupported, Meaning: "no node is labelled; `kvip status` says which one has an address"},
	{Name: "svc_namespace", Support: Refused, Meaning: "Services of every namespace are served; remove it, and give those that are not meant a class of another load balancer", Requires: "svc_enable"},
	{Name: "disable_service_updates", Flag: "disableServiceUpdates", Boolean: true, Support: Unsupported, Meaning: "the address is written to the Service's status, unless another controller owns that field", Requires: "svc_enable"},
	{Name: "enable_endpoints", Flag: "enableEndpoints", Boolean: true, Support: Unsupported, Meaning: "EndpointSlices are read, always", Requires: "svc_enable"},
	{Name: "enable_endpointslices", Boolean: true, Support: Unsupported, Meaning: "EndpointSlices are read, always", same: []string{"true"}, Requires: "svc_enable"},
	{Name: "mirror_dest_interface", Flag: "mirrorDestInterface", Support: Unsupported, Meaning: "traffic is not mirrored"},
	{Name: "iptables_backend", Support: Unsupported, Meaning: "kvip has an nftables table of its own and calls no program", Requires: "svc_enable"},
	{Name: "enable_upnp", Boolean: true, Support: Unsupported, Meaning: "no ports are opened on a gateway", Requires: "svc_enable"},
	{Name: "enableUPNP", Boolean: true, Support: Unsupported, Meaning: "no ports are opened on a gateway", Requires: "svc_enable"},
	{Name: "egress_podcidr", Support: Unsupported, Meaning: noEgress, Requires: "svc_enable"},
	{Name: "egress_servicecidr", Support: Unsupported, Meaning: noEgress, Requires: "svc_enable"},
	{Name: "egress_withnftables", Boolean: true, Support: Unsupported, Meaning: noEgress, Requires: "svc_enable"},
	{Name: "egress_clean", Boolean: true, Support: Unsupported, Meaning: noEgress, Requires: "svc_enable"},
	{Name: "EGRESS_CLEAN", Boolean: true, Support: Unsupported, Meaning: noEgress, Requires: "svc_enable"},

	{Name: "lb_enable", Flag: "enableLoadBalancer", Boolean: true, Support: Unsupported, Meaning: noIPVS, Requires: "cp_enable"},
	{Name: portOfBalancer, Flag: "lbPort", Support: Unsupported, Meaning: noIPVS, RefusedIf: "it is not `port`, which clients could not reach", Requires: "lb_enable"},
	{Name: "lb_fwdmethod", Flag: "lbForwardingMethod", Support: Unsupported, Meaning: noIPVS, Requires: "lb_enable"},
	{Name: "backend_health_check_interval", Support: Unsupported, Meaning: noWatch, Requires: "lb_enable"},

	{Name: "bgp_enable", Flag: "bgp", Boolean: true, Support: Unsupported, Meaning: noBGP, RefusedIf: onlyWay},
	{Name: "bgp_attach_ip_to_interface", Flag: "bgpAttachIPToInterface", Boolean: true, Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_routerid", Flag: "bgpRouterID", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_routerinterface", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_as", Flag: "localAS", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_peeraddress", Flag: "peerAddress", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_peeras", Flag: "peerAS", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_peerpass", Flag: "peerPass", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_peers", Flag: "bgppeers", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_multihop", Flag: "multihop", Boolean: true, Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_sourceif", Flag: "sourceIF", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_sourceip", Flag: "sourceIP", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_hold_time", Flag: "bgpHoldTimer", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "bgp_keepalive_interval", Flag: "bgpKeepAliveInterval", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "mpbgp_nexthop", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "mpbgp_ipv4", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "mpbgp_ipv6", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "annotation", Flag: "annotations", Support: Unsupported, Meaning: noBGP + ", and annotations of the node are not waited for", Requires: "bgp_enable"},
	{Name: "zebra_enable", Flag: "zebra", Boolean: true, Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "zebra_url", Flag: "zebraUrl", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "zebra_version", Flag: "zebraVersion", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},
	{Name: "zebra_software_name", Flag: "zebraSoftwareName", Support: Unsupported, Meaning: noBGP, Requires: "bgp_enable"},

	{Name: "vip_wireguard", Flag: "wireguard", Boolean: true, Support: Unsupported, Meaning: "there is no WireGuard tunnel", RefusedIf: onlyWay},
	{Name: "vip_routingtable", Flag: "table", Boolean: true, Support: Unsupported, Meaning: noTable, RefusedIf: onlyWay},
	{Name: "vip_routingtableid", Flag: "tableID", Support: Unsupported, Meaning: noTable, Requires: "vip_routingtable"},
	{Name: "vip_routingtabletype", Flag: "tableType", Support: Unsupported, Meaning: noTable, Requires: "vip_routingtable"},
	{Name: "vip_routingprotocol", Flag: "routingProtocol", Support: Unsupported, Meaning: noTable, Requires: "vip_routingtable"},
	{Name: "vip_cleanroutingtable", Flag: "cleanRoutingTable", Boolean: true, Support: Unsupported, Meaning: noTable, Requires: "vip_routingtable"},

	{Name: "vip_packet", Boolean: true, Support: Refused, Meaning: noMetal},
	{Name: "vip_packetproject", Support: Unsupported, Meaning: noMetal, Requires: "vip_packet"},
	{Name: "vip_packetprojectid", Support: Unsupported, Meaning: noMetal, Requires: "vip_packet"},
	{Name: "provider_config", Support: Unsupported, Meaning: noMetal, Requires: "vip_packet"},
	{Name: "PACKET_AUTH_TOKEN", Support: Unsupported, Meaning: noMetal, Requires: "vip_packet"},
	{Name: "vip_singlenode", Boolean: true, Support: Unsupported, Meaning: noRaft},
	{Name: "vip_startleader", Boolean: true, Support: Unsupported, Meaning: noRaft},
	{Name: "vip_peers", Support: Unsupported, Meaning: noRaft},
	{Name: "vip_localpeer", Support: Unsupported, Meaning: noRaft},
	{Name: "vip_remotepeers", Support: Unsupported, Meaning: noRaft},
	{Name: "vip_addpeerstolb", Boolean: true, Support: Unsupported, Meaning: noRaft},
	{Name: "vip_configmap", Support: Unsupported, Meaning: oldService},
	{Name: "lb_bindtovip", Boolean: true, Support: Unsupported, Meaning: oldService, Requires: "lb_enable"},
	{Name: "lb_name", Support: Unsupported, Meaning: oldService, Requires: "lb_enable"},
	{Name: "lb_type", Support: Unsupported, Meaning: oldService, Requires: "lb_enable"},
	{Name: "lb_backendport", Support: Unsupported, Meaning: oldService, Requires: "lb_enable"},
	{Name: "instance_name", Support: Unsupported, Meaning: unread},
	{Name: "debounce_time", Support: Unsupported, Meaning: unread},
	{Name: "KUBECONFIG", Support: Unsupported, Meaning: unread + "; `k8s_config_file` names a kubeconfig"},
	{Name: "HTTPS_PROXY", Support: Unsupported, Meaning: noProxy},
	{Name: "HTTP_PROXY", Support: Unsupported, Meaning: noProxy},
	{Name: "https_proxy", Support: Unsupported, Meaning: noProxy},
	{Name: "http_proxy", Support: Unsupported, Meaning: noProxy},
	{Name: "lb_backends", Support: Unsupported, Meaning: oldService, Requires: "lb_enable"},
}
