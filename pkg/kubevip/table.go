package kubevip

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// understood are the variables with a counterpart.
var understood = []Variable{
	{Name: "cp_enable", Flag: "controlplane", Boolean: true, Meaning: "the address for the API servers is held",
		set: truth(func(r *parser) *bool { return &r.ControlPlane })},
	{Name: "svc_enable", Flag: "services", Boolean: true, Meaning: "`--services`: Services of type LoadBalancer get addresses",
		set: truth(func(r *parser) *bool { return &r.Services })},
	{Name: "address", Requires: "cp_enable", Flag: "address", Meaning: "`--vip`: one address, or an IPv4 and an IPv6 with a comma", RefusedIf: "it is a DNS name", set: addresses},
	{Name: "vip_address", Requires: "cp_enable", Flag: "vip", Meaning: "the same, where `address` says nothing", set: oldAddresses},
	{Name: "port", Flag: "port", Meaning: "`--port`", set: number(1, math.MaxUint16, func(r *parser, n int) { r.Port = n })},
	{Name: "vip_interface", Flag: "interface", Meaning: "`--interface`", set: text(func(r *parser) *string { return &r.Interface })},
	{Name: "vip_servicesinterface", Requires: "svc_enable", Flag: "serviceInterface",
		Meaning: "`--services-interface`, and `vip_interface` where nothing is said: the subnets there need not contain the address. `auto`, or neither: the interface whose subnet " +
			"contains the address, and else `--services-fallback`: `vip_interface`, or that of the default route",
		set: text(func(r *parser) *string { return &r.ServicesInterface })},
	{Name: "vip_arp", Flag: "arp", Boolean: true, Meaning: "kvip always announces by ARP and neighbour discovery", RefusedIf: "no way of announcing is on", set: checked},
	{Name: "vip_leaderelection", Flag: "leaderElection", Boolean: true, Meaning: "there is always an election", set: election},
	{Name: "vip_leasename", Flag: "leaseName", Meaning: "`--lease-name`, " + LeaseName + " where nothing is said",
		set: text(func(r *parser) *string { return &r.LeaseName })},
	{Name: "svc_leasename", Requires: "svc_enable", Flag: "servicesLeaseName", Meaning: "`--services-name`, " + ServicesLease + " where nothing is said", RefusedIf: "it is that of the control plane",
		set: text(func(r *parser) *string { return &r.ServicesLease })},
	{Name: "cp_namespace", Flag: "namespace", Meaning: "`--namespace`", set: text(func(r *parser) *string { return &r.Namespace })},
	{Name: "vip_leaseduration", Flag: "leaseDuration", Meaning: "`--lease-duration`, " + config.MinLeaseDuration.String() + " to 10m",
		set: number(1, math.MaxInt32, func(r *parser, n int) { r.LeaseDuration = time.Duration(n) * time.Second })},
	{Name: "vip_retryperiod", Flag: "leaseRetry", Meaning: "`--renew-interval`, at most a third of the lease",
		set: number(1, math.MaxInt32, func(r *parser, n int) { r.RenewInterval = time.Duration(n) * time.Second })},
	{Name: "vip_nodename", Flag: "nodeName", Meaning: "`--node-name`", set: text(func(r *parser) *string { return &r.NodeName })},
	{Name: "k8s_config_file", Flag: "k8sConfigPath", Meaning: "`--kubeconfig`", set: text(func(r *parser) *string { return &r.Settings.Kubeconfig })},
	{Name: "lb_class_name", Requires: "svc_enable", Flag: "lbClassName", Meaning: "`--service-class`, " + Class + " where nothing is said",
		set: text(func(r *parser) *string { return &r.Settings.Class })},
	{Name: "lb_class_only", Requires: "svc_enable", Flag: "lbClassOnly", Boolean: true, Meaning: "`--service-class-only`: Services without a class are left alone",
		set: truth(func(r *parser) *bool { return &r.ClassOnly })},
	{Name: "lb_class_legacy_handling", Requires: "svc_enable", Flag: "lbClassNameLegacyHandling", Boolean: true,
		Meaning: "`false`: Services without a class are left alone", RefusedIf: "it is `false`, and `lb_class_name` empty", set: checked},
	{Name: "prometheus_server", Flag: "prometheusHTTPServer", Meaning: "`--metrics-address`: an IP address or nothing before the port. An empty flag, with no variable, switches metrics off", RefusedIf: "a name is before the port",
		set: metrics, empty: func(r *parser) { r.MetricsAddress = "" }},
	{Name: "health_check_port", Flag: "healthCheckPort", Meaning: "the port of `--health-address`, on 127.0.0.1 only: a probe needs `host: 127.0.0.1`",
		set: health},
	{Name: "vip_loglevel", Flag: "log", Meaning: "`-v`: 5 and more, or less than 0, is 1, all else 0", set: number(math.MinInt32, math.MaxInt32, verbosity)},
	{Name: "enable_service_security", Requires: "svc_enable", Flag: "onlyAllowTrafficServicePorts", Boolean: true, Meaning: "addresses of Services answer on the ports of their Services only, always",
		set: security},
}

// addresses takes those of kube-vip's address, which wins over vip_address.
func addresses(r *parser, value string) error {
	for part := range strings.SplitSeq(value, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%q is not an IP address; kvip looks no names up, write the address that is meant", part)
		}
		r.VIPs = append(r.VIPs, addr)
	}
	return nil
}

// oldAddresses stands behind address in the table, and yields to it.
func oldAddresses(r *parser, value string) error {
	if len(r.VIPs) > 0 {
		return nil
	}
	return addresses(r, value)
}

func election(r *parser, value string) error {
	if err := checked(r, value); err != nil {
		return err
	}
	if !r.is("vip_leaderelection") {
		r.note("vip_leaderelection", "there is an election all the same")
	}
	return nil
}

func metrics(r *parser, value string) error {
	full := value
	if strings.HasPrefix(value, ":") {
		full = "[::]" + value
	}
	if ap, err := netip.ParseAddrPort(full); err != nil || ap.Port() == 0 {
		return fmt.Errorf("%q is not a port behind an IP address or nothing; write one like :2112", value)
	}
	r.MetricsAddress = value
	return nil
}

// health follows kube-vip, which takes no port of the system's.
func health(r *parser, value string) error {
	return number(1024, math.MaxUint16, func(r *parser, n int) {
		r.HealthAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n)).String()
		r.note("health_check_port", "/healthz is served on 127.0.0.1 alone; give a probe of this port host: 127.0.0.1")
	})(r, value)
}

// verbosity knows both countings: 5 is debugging to old releases, -4 to new ones.
func verbosity(r *parser, n int) {
	if n >= 5 || n < 0 {
		r.Verbosity = 1
	}
}

func security(r *parser, value string) error {
	if err := checked(r, value); err != nil {
		return err
	}
	if !r.is("enable_service_security") {
		r.note("enable_service_security", "addresses of Services answer on the ports of their Services only, all the same")
	}
	return nil
}
