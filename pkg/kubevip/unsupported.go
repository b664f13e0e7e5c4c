package kubevip

import (
	"slices"
	"strings"
)

// Texts of several rows.
const (
	noIPVS        = "kvip has no load balancer; the API server of the node with the address serves it"
	noDHCP        = "kvip has no DHCP client"
	noEgress      = "kvip does not change egress traffic of pods"
	noRaft        = "kvip has no raft cluster; a Lease decides the election"
	noRoutes      = "kvip does not announce routes"
	noCloud       = "kvip requests no address from a cloud's API"
	noDetection   = "kvip detects the API server of its node and monitors it"
	onlyMethod    = "it is the only method of announcement that is on"
	oldService    = "kube-vip before 0.4 used it"
	notRead       = "kvip does not read it"
	noProxy       = "kvip connects to API servers directly"
	noPerService  = "kvip spreads addresses over the nodes without an election per Service"
	prefixLength  = "an address has the prefix length 32 or 128"
	noUPnP        = "kvip opens no ports on a gateway"
	endpointSlice = "kvip always reads EndpointSlices"
)

// unsupported are the variables that cause a note, and those with which kvip does not start.
var unsupported = slices.Concat(
	rows(Variable{
		Meaning: "the holder releases the address shortly before its Lease expires; the deadline is " +
			"not configurable"},
		"vip_renewdeadline --leaseRenewDuration"),
	rows(Variable{Meaning: "the Lease has kvip's annotations only"},
		"vip_leaseannotations"),
	rows(Variable{Meaning: prefixLength, satisfied: []string{"32", "/32",
		"128", "/128", "32,128", "/32,/128"}},
		"vip_subnet --vipSubnet"),
	rows(Variable{Meaning: prefixLength, satisfied: []string{"32", "/32",
		"128", "/128"}},
		"vip_cidr --cidr"),
	rows(Variable{Meaning: "the rate of announcements is not configurable"},
		"vip_arpRate"),
	rows(Variable{Meaning: "kvip assigns no addresses to the loopback link"},
		"vip_interfaceloglobal --loInterfaceGlobalScope bool"),
	rows(Variable{Meaning: "a node without a usable link always releases the address",
		satisfied: []string{"true"}},
		"vip_loseleadership bool"),
	rows(Variable{Meaning: "a node that loses the Lease always removes the address"},
		"vip_preserve_on_leadership_loss bool"),
	rows(Variable{
		Meaning:   "kvip probes addresses itself, without the kernel's duplicate address detection",
		satisfied: []string{"true"}},
		"vip_skipdad bool"),
	rows(Variable{Meaning: "kvip does not resolve names", satisfied: []string{"first"}},
		"dns_mode --dnsMode"),
	rows(Variable{Support: Refused, Meaning: noDHCP +
		" and does not resolve names; write the address", Requires: "cp_enable"},
		"vip_ddns --ddns bool"),
	rows(Variable{Meaning: noDHCP},
		"dhcp_mode"),
	rows(Variable{Meaning: noDetection, Requires: "cp_enable", satisfied: []string{"true"}},
		"cp_detect --autodetectcp bool"),
	rows(Variable{Meaning: noDetection},
		"kubernetes_addr"),
	rows(Variable{Meaning: noDetection, Requires: "cp_enable"},
		"control_plane_health_check_period_seconds", "control_plane_health_check_timeout_seconds",
		"control_plane_health_check_failure_threshold", "control_plane_health_check_ca_path"),
	rows(Variable{
		Support: Refused, Meaning: "kvip does not read the file; write its settings as variables"},
		"config_file --config-file"),
	rows(Variable{Meaning: noPerService +
		"; it does not announce a Service while a kube-vip renews that Service's Lease",
		Requires: "svc_enable"},
		"svc_election --servicesElection bool"),
	rows(Variable{Meaning: noPerService, Requires: "svc_enable"},
		"per_service_election_on_demand bool"),
	rows(Variable{Meaning: "kvip labels no node; `kvip status` shows the node of an address"},
		"enable_node_labeling --enableNodeLabeling bool"),
	rows(Variable{
		Support: Refused, Meaning: "kvip serves Services of every namespace; remove it, and give other " +
			"Services the class of another load balancer",
		Requires: "svc_enable"},
		"svc_namespace"),
	rows(Variable{
		Meaning:  "kvip writes the status of the Service, unless another controller owns that field",
		Requires: "svc_enable"},
		"disable_service_updates --disableServiceUpdates bool"),
	rows(Variable{Meaning: endpointSlice, Requires: "svc_enable"},
		"enable_endpoints --enableEndpoints bool"),
	rows(Variable{Meaning: endpointSlice, Requires: "svc_enable", satisfied: []string{"true"}},
		"enable_endpointslices bool"),
	rows(Variable{Meaning: "kvip does not mirror traffic"},
		"mirror_dest_interface --mirrorDestInterface"),
	rows(Variable{Meaning: "kvip has its own nftables table and runs no program",
		Requires: "svc_enable"},
		"iptables_backend"),
	rows(Variable{Meaning: noUPnP, Requires: "svc_enable"},
		"enable_upnp bool", "enableUPNP bool"),
	rows(Variable{Meaning: noEgress, Requires: "svc_enable"},
		"egress_podcidr", "egress_servicecidr", "egress_withnftables bool", "egress_clean bool",
		"EGRESS_CLEAN bool"),
	rows(Variable{Meaning: noIPVS, Requires: "cp_enable"},
		"lb_enable --enableLoadBalancer bool"),
	rows(Variable{Meaning: noIPVS,
		RefusedIf: "it is not `port`: clients could not connect",
		Requires:  "lb_enable"},
		"lb_port --lbPort"),
	rows(Variable{Meaning: noIPVS, Requires: "lb_enable"},
		"lb_fwdmethod --lbForwardingMethod"),
	rows(Variable{Meaning: noDetection, Requires: "lb_enable"},
		"backend_health_check_interval"),
	rows(Variable{Meaning: "kvip has no WireGuard tunnel", RefusedIf: onlyMethod},
		"vip_wireguard --wireguard bool"),
	rows(Variable{Meaning: noRoutes, RefusedIf: onlyMethod},
		"vip_routingtable --table bool"),
	rows(Variable{Meaning: noRoutes, Requires: "vip_routingtable"},
		"vip_routingtableid --tableID", "vip_routingtabletype --tableType",
		"vip_routingprotocol --routingProtocol", "vip_cleanroutingtable --cleanRoutingTable bool"),
	rows(Variable{Support: Refused, Meaning: noCloud},
		"vip_packet bool"),
	rows(Variable{Meaning: noCloud, Requires: "vip_packet"},
		"vip_packetproject", "vip_packetprojectid", "provider_config", "PACKET_AUTH_TOKEN"),
	rows(Variable{Meaning: noRaft},
		"vip_singlenode bool", "vip_startleader bool", "vip_peers", "vip_localpeer", "vip_remotepeers",
		"vip_addpeerstolb bool"),
	rows(Variable{Meaning: oldService},
		"vip_configmap"),
	rows(Variable{Meaning: oldService, Requires: "lb_enable"},
		"lb_bindtovip bool", "lb_name", "lb_type", "lb_backendport"),
	rows(Variable{Meaning: notRead},
		"instance_name", "debounce_time"),
	rows(Variable{Meaning: notRead +
		"; `k8s_config_file` names a kubeconfig"},
		"KUBECONFIG"),
	rows(Variable{Meaning: noProxy},
		"HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"),
	rows(Variable{Meaning: oldService, Requires: "lb_enable"},
		"lb_backends"),
)

// rows returns a row like v for each spec: the name, then, if there are any, the flag with its
// dashes and the word bool. They are unsupported unless v is refused.
func rows(v Variable, specs ...string) (all []Variable) {
	v.Support = max(v.Support, Unsupported)
	for _, spec := range specs {
		words := strings.Fields(spec)
		v.Name, v.Flag, v.Boolean = words[0], "", false
		for _, word := range words[1:] {
			if flag, ok := strings.CutPrefix(word, "--"); ok {
				v.Flag = flag
			}
			v.Boolean = v.Boolean || word == "bool"
		}
		all = append(all, v)
	}
	return all
}
