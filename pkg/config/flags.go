package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/quorum"
)

// Group is a set of flags that commands share or leave out.
type Group int

// The groups, in the order of the help text.
const (
	// Address is --vip.
	Address Group = iota
	// Interface is --interface and --interface-wait.
	Interface
	// APIServer is --port of the API servers.
	APIServer
	// Lease is --lease-name and --namespace.
	Lease
	// Timing is --lease-duration and --renew-interval.
	Timing
	// Failover is --failover-timeout, --drain-timeout and --peer-port.
	Failover
	// BGP is --announce and the --bgp flags.
	BGP
	// Client is --kubeconfig and --state-dir.
	Client
	// Kubeconfig is the part of Client for commands without a token of their own.
	Kubeconfig
	// Node is --node-name.
	Node
	// Metrics is --metrics-address.
	Metrics
	// Health is --health-url, which the agent polls, and --health-address, which it serves.
	Health
	// Services is --services and the selection of Services and of their interfaces.
	Services
	// ServiceClass is the part of Services that selects Services. Services includes it.
	ServiceClass
	// Image is --image.
	Image
	// Logging is --log-format and -v.
	Logging
)

// registrations has one row per group. A group of which another one is a part has both checked by
// the larger one.
var registrations = []struct {
	group Group
	add   func(*Config, *pflag.FlagSet)
	check func(Config) error
}{
	{Address, (*Config).addAddress, Config.checkVIPs},
	{Interface, (*Config).addInterface, Config.checkInterface},
	{APIServer, (*Config).addAPIServer, Config.checkPort},
	{Lease, (*Config).addLease, Config.checkLease},
	{Timing, (*Config).addTiming, Config.checkTiming},
	{Failover, (*Config).addFailover, Config.checkFailover},
	{BGP, (*Config).addBGP, Config.checkBGP},
	{Client, (*Config).addClient, Config.checkClient},
	{Kubeconfig, (*Config).addKubeconfig, Config.checkKubeconfigs},
	{Node, (*Config).addNode, Config.checkNode},
	{Metrics, (*Config).addMetrics, Config.checkMetrics},
	{Health, (*Config).addHealth, Config.checkHealth},
	{Services, (*Config).addServices, Config.checkServices},
	{ServiceClass, (*Config).addServiceClass, Config.checkServiceClass},
	{Image, (*Config).addImage, Config.checkImage},
	{Logging, (*Config).addLogging, Config.checkLogging},
}

// includes reports whether a list of groups contains g. An empty list contains every group.
func includes(groups []Group, g Group) bool {
	return len(groups) == 0 || slices.Contains(groups, g)
}

// ManagerGroups returns the groups of `kvip manager`: all but Image.
func ManagerGroups() []Group {
	return []Group{
		Address,
		Interface,
		APIServer,
		Lease,
		Timing,
		Failover,
		BGP,
		Client,
		Node,
		Metrics,
		Health,
		Services,
		Logging,
	}
}

// AddFlags registers the flags of the groups on fs, or all flags if none is named. The values
// that c has now are the defaults; parsing writes into c. Every flag is in one of Sections.
func (c *Config) AddFlags(fs *pflag.FlagSet, only ...Group) {
	fs.SortFlags = false
	for _, r := range registrations {
		if includes(only, r.group) {
			r.add(c, fs)
		}
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if section, ok := sectionOf[f.Name]; ok {
			SetSection(f, section)
		}
	})
}

func (c *Config) addAddress(fs *pflag.FlagSet) {
	fs.Var(&addrList{list: &c.VIPs}, "vip",
		"virtual IP address: one IPv4, one IPv6, or both separated by a comma")
}

func (c *Config) addInterface(fs *pflag.FlagSet) {
	fs.StringVar(&c.Interface, "interface", c.Interface,
		"`name` of the network interface for the VIP "+
			"(default: the one whose subnet contains the VIP, else the one of the default route)")
	fs.DurationVar(&c.InterfaceWait, "interface-wait", c.InterfaceWait,
		"how long to wait at start until the "+
			"interface exists; 0: no wait, negative: no limit")
}

func (c *Config) addAPIServer(fs *pflag.FlagSet) {
	fs.IntVar(&c.Port, "port", c.Port, "`port` of the API servers")
}

func (c *Config) addLease(fs *pflag.FlagSet) {
	fs.StringVar(&c.LeaseName, "lease-name", c.LeaseName,
		"`name` of the Lease that all agents of one VIP share")
	fs.StringVar(&c.Namespace, "namespace", c.Namespace, "namespace of the Lease")
}

func (c *Config) addTiming(fs *pflag.FlagSet) {
	fs.DurationVar(&c.LeaseDuration, "lease-duration", c.LeaseDuration,
		"how long the Lease is valid after its "+
			"last renewal: whole seconds, 3s to 10m")
	fs.DurationVar(&c.RenewInterval, "renew-interval", c.RenewInterval,
		fmt.Sprintf("time between two renewals of the Lease, at most a third of --lease-duration, "+
			"and %gs for one of %s", MaxRenewInterval(MinLeaseDuration).Seconds(), MinLeaseDuration))
}

func (c *Config) addFailover(fs *pflag.FlagSet) {
	fs.DurationVar(&c.FailoverTimeout, "failover-timeout", c.FailoverTimeout,
		fmt.Sprintf("how long the agents wait for a holder that they no longer hear: %s to %s, longer "+
			"for slow networks and nodes; 0: until its Lease has expired",
			quorum.MinWindow, quorum.MaxWindow))
	fs.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout,
		fmt.Sprintf("how long an agent that receives SIGTERM, or whose slow or unready API server "+
			"gives way to another, goes on serving the connections to the VIP that it has, 0 to %s; 0: "+
			"connections are reset whenever the VIP leaves a node",
			MaxDrainTimeout))
	fs.IntVar(&c.PeerPort, "peer-port", c.PeerPort,
		"UDP `port` at which the agents reach each other, on the nodes' own addresses")
}

func (c *Config) addHealth(fs *pflag.FlagSet) {
	fs.StringVar(&c.HealthURL, "health-url", c.HealthURL,
		"`URL` to poll instead of /readyz of the local API "+
			"server; credentials are sent to that server over https only")
	fs.StringVar(&c.HealthAddress, "health-address", c.HealthAddress,
		"loopback `address:port` that serves "+
			"/healthz, /readyz, /status and /services")
}

func (c *Config) addServices(fs *pflag.FlagSet) {
	fs.BoolVar(&c.Services, "services", c.Services,
		"assign addresses to Services of type LoadBalancer and "+
			"announce them; --vip is optional then")
	fs.StringVar(&c.ServicesName, "services-name", c.ServicesName,
		"`name` of the Lease of the allocator's "+
			"election, and prefix of the Leases of the ledger")
	c.addServiceClass(fs)
	fs.StringVar(&c.ServicesInterface, "services-interface", c.ServicesInterface,
		"`name` or pattern (eth*) of the "+
			"interfaces for Service addresses (default: each with a subnet that contains the address)")
	fs.StringVar(&c.ServicesFallback, "services-fallback", c.ServicesFallback,
		"interface for Service addresses "+
			"in no subnet of the node: a `name`, or "+DefaultRoute+
			"; empty: such addresses are not announced")
	fs.StringVar(&c.DaemonSet, "daemonset", c.DaemonSet,
		"`name` of the agent's DaemonSet in kube-system; if it is "+
			"deleted, the agent hands over its addresses before it exits")
}

// addServiceClass registers nothing if addServices did: groups may be combined freely.
func (c *Config) addServiceClass(fs *pflag.FlagSet) {
	if fs.Lookup("service-class") != nil {
		return
	}
	fs.StringVar(&c.ServiceClass, "service-class", c.ServiceClass,
		"loadBalancerClass of the Services to serve, "+
			"besides Services without a class")
	fs.BoolVar(&c.ClassOnly, "service-class-only", c.ClassOnly,
		"ignore Services without a loadBalancerClass")
	fs.BoolVar(&c.KubeVIP, "kube-vip", c.KubeVIP,
		"serve Services made for kube-vip and honour its Lease; "+
			"the addresses that they request need no pool, so every user who creates Services must be "+
			"trusted")
}

func (c *Config) addClient(fs *pflag.FlagSet) {
	c.addKubeconfig(fs)
	fs.StringVar(&c.StateDir, "state-dir", c.StateDir,
		"`directory` for a token of ServiceAccount kube-system/kvip, "+
			"which is requested with the kubeconfigs and used instead of them; empty: no token")
}

func (c *Config) addKubeconfig(fs *pflag.FlagSet) {
	if fs.Lookup("kubeconfig") != nil {
		return
	}
	fs.StringSliceVar(&c.Kubeconfigs, "kubeconfig", c.Kubeconfigs,
		"kubeconfig `files`, tried in this order; "+
			"empty: the pod's ServiceAccount")
}

func (c *Config) addNode(fs *pflag.FlagSet) {
	fs.StringVar(&c.NodeName, "node-name", c.NodeName, "`name` of this node (default: $"+NodeNameEnv+
		", else the host name in lower case)")
}

func (c *Config) addMetrics(fs *pflag.FlagSet) {
	fs.StringVar(&c.MetricsAddress, "metrics-address", c.MetricsAddress,
		"`address:port` that serves "+
			"/metrics, /status and /services; "+
			"empty: not served")
}

func (c *Config) addLogging(fs *pflag.FlagSet) {
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat,
		"`format` of the log on stderr: text or json")
	fs.IntVarP(&c.Verbosity, "v", "v", c.Verbosity,
		"log verbosity: 0 logs state changes and problems, 1 everything")
}

func (c *Config) addImage(fs *pflag.FlagSet) {
	fs.StringVar(&c.Image, "image", c.Image, "container `image` in the manifest")
}

// The flags that apply to one job only, in the order of the help text.
var (
	electionFlags = []string{"interface", "interface-wait", "lease-name", "lease-duration",
		"renew-interval", "failover-timeout", "drain-timeout", "peer-port"}
	bgpFlags = []string{"bgp-as", "bgp-router-id", "bgp-peer", "bgp-config", "bgp-hold-time"}
	// controlPlaneFlags are those of both ways to announce the VIP.
	controlPlaneFlags = slices.Concat(electionFlags, bgpFlags, []string{"announce", "health-url"})
	servicesFlags     = []string{
		"services-name", "service-class", "service-class-only", "services-interface", "services-fallback",
		"daemonset", "kube-vip",
	}
)

// unused returns why a flag has no effect with the jobs of c, or "".
func (c Config) unused(flag string) (reason, hint string) {
	switch {
	case !c.Services && slices.Contains(servicesFlags, flag):
		return "it has an effect with --services only", "remove it, or add --services"
	case c.Services && len(c.VIPs) == 0 && slices.Contains(controlPlaneFlags, flag):
		return "it has an effect with --vip only", "remove it, or add --vip"
	case c.ByBGP() && slices.Contains(electionFlags, flag):
		return "it has no effect with --announce=bgp, where no node holds the VIP alone", "remove it"
	case !c.ByBGP() && slices.Contains(bgpFlags, flag):
		return "it has an effect with --announce=bgp only", "remove it, or add --announce=bgp"
	}
	return "", ""
}

// CheckUnusedFlags refuses, with a *UsageError, a flag on the command line that has no effect with
// the jobs of c.
func (c Config) CheckUnusedFlags(fs *pflag.FlagSet) error {
	for _, flag := range slices.Concat(controlPlaneFlags, servicesFlags) {
		if reason, hint := c.unused(flag); reason != "" && fs.Changed(flag) {
			return invalid(flag, reason, hint)
		}
	}
	return nil
}

// Args returns the arguments of `kvip manager` that reproduce c: --vip, if there is one, and what
// differs from Default and has an effect, in the order of the help text. Equal configurations
// give equal arguments.
func (c Config) Args() []string {
	want, have := c, Default()
	wanted, defaults := managerFlags(&want), managerFlags(&have)
	var args []string
	wanted.VisitAll(func(f *pflag.Flag) {
		if reason, _ := c.unused(f.Name); reason != "" {
			return
		}
		if repeated, ok := f.Value.(interface{ Occurrences() []string }); ok {
			for _, value := range repeated.Occurrences() {
				args = append(args, dashed(f.Name)+"="+value)
			}
			return
		}
		if value := flagText(f); value != flagText(defaults.Lookup(f.Name)) ||
			f.Name == "vip" && value != "" {
			args = append(args, dashed(f.Name)+"="+value)
		}
	})
	return args
}

// managerFlags returns a flag set over c with every flag of `kvip manager`.
func managerFlags(c *Config) *pflag.FlagSet {
	fs := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	c.AddFlags(fs, ManagerGroups()...)
	return fs
}

// flagText returns the value as it is typed on a command line: pflag prints lists in brackets.
func flagText(f *pflag.Flag) string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return f.Value.String()
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// addrList is the pflag.Value of --vip: addresses separated by commas, or the flag repeated. The
// first occurrence replaces the default.
type addrList struct {
	list *[]netip.Addr
	set  bool
}

// Set parses one occurrence of the flag.
func (l *addrList) Set(text string) error {
	var parsed []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		addr, err := parseAddr(part)
		if err != nil {
			return err
		}
		parsed = append(parsed, addr)
	}
	if l.set {
		parsed = append(*l.list, parsed...)
	}
	*l.list, l.set = parsed, true
	return nil
}

// String returns the addresses as the flag takes them.
func (l *addrList) String() string {
	if l.list == nil {
		return ""
	}
	return netaddr.Join(*l.list, ",")
}

// Type names the value in help texts.
func (l *addrList) Type() string { return "addresses" }

func parseAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, errors.New("no address given")
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return netip.Addr{}, fmt.Errorf("%q is a prefix; give the address alone: %s", text, prefix.Addr())
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	return addr, nil
}
