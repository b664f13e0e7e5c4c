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
	{Name: "vip_renewdeadline", Flag: "leaseRenewDuration", Fate: Without, Meaning: "the holder gives up shortly before its lease ends; there is no time of its own for that"},
	{Name: "vip_leaseannotations", Fate: Without, Meaning: "the Lease gets no annotations but kvip's own"},
	{Name: "vip_subnet", Flag: "vipSubnet", Fate: Without, Meaning: "an address has the prefix length 32, or 128", same: []string{"32", "/32", "128", "/128", "32,128", "/32,/128"}},
	{Name: "vip_cidr", Flag: "cidr", Fate: Without, Meaning: "an address has the prefix length 32, or 128", same: []string{"32", "/32", "128", "/128"}},
	{Name: "vip_arpRate", Fate: Without, Meaning: "announcements have a pace of their own"},
	{Name: "vip_interfaceloglobal", Flag: "loInterfaceGlobalScope", Boolean: true, Fate: Without, Meaning: "addresses are not put on the loopback"},
	{Name: "vip_loseleadership", Boolean: true, Fate: Without, Meaning: "a node without a usable link always gives the address up", same: []string{"true"}},
	{Name: "vip_preserve_on_leadership_loss", Boolean: true, Fate: Without, Meaning: "a node that has lost the lease always removes the address"},
	{Name: "vip_skipdad", Boolean: true, Fate: Without, Meaning: "addresses are always put on without duplicate address detection; kvip asks the network itself", same: []string{"true"}},
	{Name: "dns_mode", Flag: "dnsMode", Fate: Without, Meaning: "no names are looked up", same: []string{"first"}},
	{Name: "vip_ddns", Flag: "ddns", Boolean: true, Fate: Refused, Meaning: noDHCP + ", and no names are looked up; write the address that is meant", Of: "cp_enable"},
	{Name: "dhcp_mode", Fate: Without, Meaning: noDHCP},
	{Name: "cp_detect", Flag: "autodetectcp", Boolean: true, Fate: Without, Meaning: noWatch, same: []string{"true"}, Of: "cp_enable"},
	{Name: "kubernetes_addr", Fate: Without, Meaning: noWatch},
	{Name: "control_plane_health_check_address", Fate: Without, Meaning: noWatch + "; `--health-url` names another page", Of: "cp_enable"},
	{Name: "control_plane_health_check_period_seconds", Fate: Without, Meaning: noWatch, Of: "cp_enable"},
	{Name: "control_plane_health_check_timeout_seconds", Fate: Without, Meaning: noWatch, Of: "cp_enable"},
	{Name: "control_plane_health_check_failure_threshold", Fate: Without, Meaning: noWatch, Of: "cp_enable"},
	{Name: "control_plane_health_check_ca_path", Fate: Without, Meaning: noWatch, Of: "cp_enable"},
	{Name: "config_file", Flag: "config-file", Fate: Refused, Meaning: "its settings would be lost; write them as variables"},

	{Name: "svc_election", Flag: "servicesElection", Boolean: true, Fate: Without, Meaning: "addresses are spread over the nodes without an election for each Service; kvip leaves a Service to a kube-vip that renews the Service's own lease", Of: "svc_enable"},
	{Name: "per_service_election_on_demand", Boolean: true, Fate: Without, Meaning: "addresses are spread over the nodes without an election for each Service", Of: "svc_enable"},
	{Name: "enable_node_labeling", Flag: "enableNodeLabeling", Boolean: true, Fate: Without, Meaning: "no node is labelled; `kvip status` says which one has an address"},
	{Name: "svc_namespace", Fate: Refused, Meaning: "Services of every namespace are served; remove it, and give those that are not meant a class of another load balancer", Of: "svc_enable"},
	{Name: "disable_service_updates", Flag: "disableServiceUpdates", Boolean: true, Fate: Without, Meaning: "the address is written to the Service's status, unless another controller owns that field", Of: "svc_enable"},
	{Name: "enable_endpoints", Flag: "enableEndpoints", Boolean: true, Fate: Without, Meaning: "EndpointSlices are read, always", Of: "svc_enable"},
	{Name: "enable_endpointslices", Boolean: true, Fate: Without, Meaning: "EndpointSlices are read, always", same: []string{"true"}, Of: "svc_enable"},
	{Name: "mirror_dest_interface", Flag: "mirrorDestInterface", Fate: Without, Meaning: "traffic is not mirrored"},
	{Name: "iptables_backend", Fate: Without, Meaning: "kvip has an nftables table of its own and calls no program", Of: "svc_enable"},
	{Name: "enable_upnp", Boolean: true, Fate: Without, Meaning: "no ports are opened on a gateway", Of: "svc_enable"},
	{Name: "enableUPNP", Boolean: true, Fate: Without, Meaning: "no ports are opened on a gateway", Of: "svc_enable"},
	{Name: "egress_podcidr", Fate: Without, Meaning: noEgress, Of: "svc_enable"},
	{Name: "egress_servicecidr", Fate: Without, Meaning: noEgress, Of: "svc_enable"},
	{Name: "egress_withnftables", Boolean: true, Fate: Without, Meaning: noEgress, Of: "svc_enable"},
	{Name: "egress_clean", Boolean: true, Fate: Without, Meaning: noEgress, Of: "svc_enable"},
	{Name: "EGRESS_CLEAN", Boolean: true, Fate: Without, Meaning: noEgress, Of: "svc_enable"},

	{Name: "lb_enable", Flag: "enableLoadBalancer", Boolean: true, Fate: Without, Meaning: noIPVS, Of: "cp_enable"},
	{Name: portOfBalancer, Flag: "lbPort", Fate: Without, Meaning: noIPVS, RefusedWhere: "it is not `port`, which clients could not reach", Of: "lb_enable"},
	{Name: "lb_fwdmethod", Flag: "lbForwardingMethod", Fate: Without, Meaning: noIPVS, Of: "lb_enable"},
	{Name: "backend_health_check_interval", Fate: Without, Meaning: noWatch, Of: "lb_enable"},

	{Name: "bgp_enable", Flag: "bgp", Boolean: true, Fate: Without, Meaning: noBGP, RefusedWhere: onlyWay},
	{Name: "bgp_attach_ip_to_interface", Flag: "bgpAttachIPToInterface", Boolean: true, Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_routerid", Flag: "bgpRouterID", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_routerinterface", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_as", Flag: "localAS", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_peeraddress", Flag: "peerAddress", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_peeras", Flag: "peerAS", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_peerpass", Flag: "peerPass", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_peers", Flag: "bgppeers", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_multihop", Flag: "multihop", Boolean: true, Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_sourceif", Flag: "sourceIF", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_sourceip", Flag: "sourceIP", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_hold_time", Flag: "bgpHoldTimer", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "bgp_keepalive_interval", Flag: "bgpKeepAliveInterval", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "mpbgp_nexthop", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "mpbgp_ipv4", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "mpbgp_ipv6", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "annotation", Flag: "annotations", Fate: Without, Meaning: noBGP + ", and annotations of the node are not waited for", Of: "bgp_enable"},
	{Name: "zebra_enable", Flag: "zebra", Boolean: true, Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "zebra_url", Flag: "zebraUrl", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "zebra_version", Flag: "zebraVersion", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},
	{Name: "zebra_software_name", Flag: "zebraSoftwareName", Fate: Without, Meaning: noBGP, Of: "bgp_enable"},

	{Name: "vip_wireguard", Flag: "wireguard", Boolean: true, Fate: Without, Meaning: "there is no WireGuard tunnel", RefusedWhere: onlyWay},
	{Name: "vip_routingtable", Flag: "table", Boolean: true, Fate: Without, Meaning: noTable, RefusedWhere: onlyWay},
	{Name: "vip_routingtableid", Flag: "tableID", Fate: Without, Meaning: noTable, Of: "vip_routingtable"},
	{Name: "vip_routingtabletype", Flag: "tableType", Fate: Without, Meaning: noTable, Of: "vip_routingtable"},
	{Name: "vip_routingprotocol", Flag: "routingProtocol", Fate: Without, Meaning: noTable, Of: "vip_routingtable"},
	{Name: "vip_cleanroutingtable", Flag: "cleanRoutingTable", Boolean: true, Fate: Without, Meaning: noTable, Of: "vip_routingtable"},

	{Name: "vip_packet", Boolean: true, Fate: Refused, Meaning: noMetal},
	{Name: "vip_packetproject", Fate: Without, Meaning: noMetal, Of: "vip_packet"},
	{Name: "vip_packetprojectid", Fate: Without, Meaning: noMetal, Of: "vip_packet"},
	{Name: "provider_config", Fate: Without, Meaning: noMetal, Of: "vip_packet"},
	{Name: "PACKET_AUTH_TOKEN", Fate: Without, Meaning: noMetal, Of: "vip_packet"},
	{Name: "vip_singlenode", Boolean: true, Fate: Without, Meaning: noRaft},
	{Name: "vip_startleader", Boolean: true, Fate: Without, Meaning: noRaft},
	{Name: "vip_peers", Fate: Without, Meaning: noRaft},
	{Name: "vip_localpeer", Fate: Without, Meaning: noRaft},
	{Name: "vip_remotepeers", Fate: Without, Meaning: noRaft},
	{Name: "vip_addpeerstolb", Boolean: true, Fate: Without, Meaning: noRaft},
	{Name: "vip_configmap", Fate: Without, Meaning: oldService},
	{Name: "lb_bindtovip", Boolean: true, Fate: Without, Meaning: oldService, Of: "lb_enable"},
	{Name: "lb_name", Fate: Without, Meaning: oldService, Of: "lb_enable"},
	{Name: "lb_type", Fate: Without, Meaning: oldService, Of: "lb_enable"},
	{Name: "lb_backendport", Fate: Without, Meaning: oldService, Of: "lb_enable"},
	{Name: "instance_name", Fate: Without, Meaning: unread},
	{Name: "debounce_time", Fate: Without, Meaning: unread},
	{Name: "KUBECONFIG", Fate: Without, Meaning: unread + "; `k8s_config_file` names a kubeconfig"},
	{Name: "HTTPS_PROXY", Fate: Without, Meaning: noProxy},
	{Name: "HTTP_PROXY", Fate: Without, Meaning: noProxy},
	{Name: "https_proxy", Fate: Without, Meaning: noProxy},
	{Name: "http_proxy", Fate: Without, Meaning: noProxy},
	{Name: "lb_backends", Fate: Without, Meaning: oldService, Of: "lb_enable"},
}
