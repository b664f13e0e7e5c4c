package kubevip

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// Variable is one row of the table of environment variables.
type Variable struct {
	// Name is the variable.
	Name string
	// Flag is the flag of `kube-vip manager` with the same meaning, without dashes. Empty: none.
	Flag string
	// Boolean reports that the flag needs no value.
	Boolean bool
	// Support is how kvip treats the variable.
	Support Support
	// Meaning is its meaning here, or what happens instead.
	Meaning string
	// RefusedIf is the condition under which kvip does not start. Empty: see Support.
	RefusedIf string
	// Requires is another Boolean variable that must be true for this one to have an effect. Empty:
	// none.
	Requires string

	// set applies a value; nil: there is nothing to apply.
	set func(*parser, string) error
	// setEmpty applies an empty flag; nil: an empty flag counts as missing.
	setEmpty func(*parser)
	// satisfied are values that kvip satisfies anyway. They cause no note.
	satisfied []string
}

// Variables returns the table, in the order of the documentation.
func Variables() []Variable { return slices.Concat(supported, bgpVariables, unsupported) }

// lookUp finds a variable in the table.
func lookUp(name string) (Variable, bool) {
	all := Variables()
	i := slices.IndexFunc(all, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return Variable{}, false
	}
	return all[i], true
}

// lbPort is compared with port, although kvip has no load balancer.
const lbPort = "lb_port"

// needsValue reports whether kvip needs the value of the variable, and not only its presence.
func (v Variable) needsValue() bool {
	return v.set != nil || v.Boolean || v.Support == Refused || v.Name == lbPort
}

// isSatisfied reports whether kvip satisfies a value anyway.
func (v Variable) isSatisfied(value string) bool {
	if !v.Boolean {
		return slices.Contains(v.satisfied, value)
	}
	on, err := strconv.ParseBool(value)
	return err == nil && on == slices.Contains(v.satisfied, "true")
}

// supported are the variables with a counterpart.
var supported = []Variable{
	{Name: "cp_enable", Flag: "controlplane", Boolean: true,
		Meaning: "kvip holds the address of the API servers",
		set:     boolValue(func(p *parser) *bool { return &p.ControlPlane })},
	{Name: "svc_enable", Flag: "services", Boolean: true,
		Meaning: "`--services`: Services of type LoadBalancer get addresses",
		set:     boolValue(func(p *parser) *bool { return &p.Services })},
	{Name: "address", Requires: "cp_enable", Flag: "address",
		Meaning:   "`--vip`: one address, or an IPv4 and an IPv6 separated by a comma",
		RefusedIf: "it is a DNS name", set: setAddresses},
	{Name: "vip_address", Requires: "cp_enable", Flag: "vip",
		Meaning: "the same, if `address` is not set", set: setOldAddresses},
	{Name: "port", Flag: "port", Meaning: "`--port`",
		set: intValue(1, math.MaxUint16, func(p *parser, n int) { p.Port = n })},
	{Name: "vip_interface", Flag: "interface", Meaning: "`--interface`",
		set: textValue(func(p *parser) *string { return &p.Interface })},
	{Name: "vip_servicesinterface", Requires: "svc_enable", Flag: "serviceInterface",
		Meaning: "`--services-interface`; if not set, `vip_interface`, whose subnets need not contain " +
			"the address. " +
			"`auto`, or neither variable: the interface whose subnet contains the address, else " +
			"`--services-fallback`, which is `vip_interface` or that of the default route",
		set: textValue(func(p *parser) *string { return &p.ServicesInterface })},
	{Name: "vip_arp", Flag: "arp", Boolean: true,
		Meaning:   "kvip announces by ARP and neighbour discovery, unless `bgp_enable` alone is on",
		RefusedIf: "no method of announcement is on", set: checkBool},
	{Name: "vip_leaderelection", Flag: "leaderElection", Boolean: true,
		Meaning:   "kvip always runs an election, but for an address that BGP announces",
		RefusedIf: "it is on with BGP alone", set: checkElection},
	{Name: "vip_leasename", Flag: "leaseName",
		Meaning: "`--lease-name`, " + LeaseName + " if not set",
		set:     textValue(func(p *parser) *string { return &p.LeaseName })},
	{Name: "svc_leasename", Requires: "svc_enable", Flag: "servicesLeaseName",
		Meaning:   "`--services-name`, " + ServicesLease + " if not set",
		RefusedIf: "it is that of the control plane",
		set:       textValue(func(p *parser) *string { return &p.ServicesLease })},
	{Name: "cp_namespace", Flag: "namespace", Meaning: "`--namespace`",
		set: textValue(func(p *parser) *string { return &p.Namespace })},
	{Name: "vip_leaseduration", Flag: "leaseDuration",
		Meaning: "`--lease-duration`, " + config.MinLeaseDuration.String() + " to 10m",
		set:     secondsValue(func(p *parser) *time.Duration { return &p.LeaseDuration })},
	{Name: "vip_retryperiod", Flag: "leaseRetry",
		Meaning: fmt.Sprintf("`--renew-interval`, at most a third of the lease duration, and %gs for "+
			"one of %s", config.MaxRenewInterval(config.MinLeaseDuration).Seconds(),
			config.MinLeaseDuration),
		set: secondsValue(func(p *parser) *time.Duration { return &p.RenewInterval })},
	{Name: "vip_nodename", Flag: "nodeName", Meaning: "`--node-name`",
		set: textValue(func(p *parser) *string { return &p.NodeName })},
	{Name: "k8s_config_file", Flag: "k8sConfigPath", Meaning: "`--kubeconfig`",
		set: textValue(func(p *parser) *string { return &p.Settings.Kubeconfig })},
	{Name: "lb_class_name", Requires: "svc_enable", Flag: "lbClassName",
		Meaning: "`--service-class`, " + Class + " if not set",
		set:     textValue(func(p *parser) *string { return &p.Settings.Class })},
	{Name: "lb_class_only", Requires: "svc_enable", Flag: "lbClassOnly", Boolean: true,
		Meaning: "`--service-class-only`: Services without a class are ignored",
		set:     boolValue(func(p *parser) *bool { return &p.ClassOnly })},
	{
		Name:      "lb_class_legacy_handling",
		Requires:  "svc_enable",
		Flag:      "lbClassNameLegacyHandling",
		Boolean:   true,
		Meaning:   "`false`: Services without a class are ignored",
		RefusedIf: "it is `false`, and `lb_class_name` empty",
		set:       checkBool,
	},
	{Name: "prometheus_server", Flag: "prometheusHTTPServer",
		Meaning: "`--metrics-address`: a port after an IP address or after nothing. An empty flag " +
			"without a variable disables metrics",
		RefusedIf: "it contains a host name", set: setMetrics,
		setEmpty: func(p *parser) { p.MetricsAddress = "" }},
	{Name: "health_check_port", Flag: "healthCheckPort",
		Meaning: "the port of `--health-address`, on 127.0.0.1 only: a probe needs `host: 127.0.0.1`",
		set:     setHealth},
	{
		Name:    "vip_loglevel",
		Flag:    "log",
		Meaning: "`-v`: 5 and more, or less than 0, is 1, other values are 0",
		set:     intValue(math.MinInt32, math.MaxInt32, setVerbosity),
	},
	{
		Name:     "control_plane_health_check_address",
		Requires: "cp_enable",
		Meaning: "with BGP `--health-url`, unless it is the API server of the node, which kvip " +
			"detects and monitors",
		set: setHealthURL,
	},
	{
		Name:     "enable_service_security",
		Requires: "svc_enable",
		Flag:     "onlyAllowTrafficServicePorts",
		Boolean:  true,
		Meaning:  "addresses of Services always answer on the ports of their Services only",
		set:      checkSecurity,
	},
}

// textValue returns a setter for a text.
func textValue(field func(*parser) *string) func(*parser, string) error {
	return func(p *parser, value string) error {
		*field(p) = value
		return nil
	}
}

// boolValue returns a setter for a truth value in the spellings of strconv.ParseBool.
func boolValue(field func(*parser) *bool) func(*parser, string) error {
	return func(p *parser, value string) error {
		parsed, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		*field(p) = parsed
		return nil
	}
}

// intValue returns a setter for a whole number within bounds.
func intValue(least, most int, set func(*parser, int)) func(*parser, string) error {
	return func(p *parser, value string) error {
		parsed, err := strconv.Atoi(value)
		if err != nil || parsed < least || parsed > most {
			return fmt.Errorf("%q is not a whole number from %d to %d", value, least, most)
		}
		set(p, parsed)
		return nil
	}
}

// secondsValue returns a setter for a duration in whole seconds.
func secondsValue(field func(*parser) *time.Duration) func(*parser, string) error {
	return intValue(1, math.MaxInt32, func(p *parser, n int) {
		*field(p) = time.Duration(n) * time.Second
	})
}

// checkBool refuses a value that is not a truth value. parser.isTrue reads it later.
func checkBool(_ *parser, value string) error {
	return boolValue(func(*parser) *bool { return new(bool) })(nil, value)
}

// setAddresses sets the VIPs of address, which takes precedence over vip_address.
func setAddresses(p *parser, value string) error {
	for part := range strings.SplitSeq(value, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf(
				"%q is not an IP address; kvip does not resolve names, write the address", part)
		}
		p.VIPs = append(p.VIPs, addr)
	}
	return nil
}

// setOldAddresses sets the VIPs of vip_address. It follows address in the table.
func setOldAddresses(p *parser, value string) error {
	if len(p.VIPs) > 0 {
		return nil
	}
	return setAddresses(p, value)
}

func checkElection(p *parser, value string) error {
	if err := checkBool(p, value); err != nil {
		return err
	}
	if !p.isTrue("vip_leaderelection") && !p.byBGP() {
		p.note("vip_leaderelection", "kvip always runs an election")
	}
	return nil
}

func setMetrics(p *parser, value string) error {
	full := value
	if strings.HasPrefix(value, ":") {
		full = "[::]" + value
	}
	if ap, err := netip.ParseAddrPort(full); err != nil || ap.Port() == 0 {
		return fmt.Errorf(
			"%q is not a port after an IP address or after nothing; write one like :2112", value)
	}
	p.MetricsAddress = value
	return nil
}

// setHealth refuses ports below 1024, as kube-vip does.
func setHealth(p *parser, value string) error {
	return intValue(1024, math.MaxUint16, func(p *parser, n int) {
		p.HealthAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n)).String()
		p.note("health_check_port",
			"kvip serves /healthz on 127.0.0.1 only; give a probe of this port host: 127.0.0.1")
	})(p, value)
}

// setVerbosity accepts both scales: debugging is 5 in old releases, -4 in new ones.
func setVerbosity(p *parser, n int) {
	if n >= 5 || n < 0 {
		p.Verbosity = 1
	}
}

func checkSecurity(p *parser, value string) error {
	if err := checkBool(p, value); err != nil {
		return err
	}
	if !p.isTrue("enable_service_security") {
		p.note("enable_service_security",
			"addresses of Services always answer on the ports of their Services only")
	}
	return nil
}
