package kubevip

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// marks are variables of kube-vip only. Every manifest of kube-vip has at least one of them.
var marks = []string{
	"cp_enable", "svc_enable", "vip_arp", "vip_interface", "vip_address", "vip_leaderelection",
	"bgp_enable",
}

// prefixes are those of kube-vip's variables. Later releases may have more variables with them.
var prefixes = []string{
	"vip_", "cp_", "svc_", "lb_", "bgp_", "mpbgp_", "zebra_", "egress_", "dhcp_",
	"control_plane_health_check_",
}

// unfamiliar is the text of a note about an unknown variable with such a prefix.
const unfamiliar = "has a prefix of kube-vip, but kvip does not know it"

// Detect reports whether an environment, in the form of os.Environ, is that of kube-vip.
func Detect(env []string) bool {
	values := valuesOf(env)
	return slices.ContainsFunc(marks, func(name string) bool { return values[name] != "" })
}

// ParseEnvironment translates the environment of kube-vip, in the form of os.Environ. Of two values
// for a name the last one counts; an empty value counts as missing. The notes name each setting
// that kvip does not apply. An *Error is the first setting that it cannot apply.
func ParseEnvironment(env []string) (Settings, []Note, error) { return Parse(nil, env) }

// Parse is ParseEnvironment with flags of kube-vip, in the form that Arguments returns. A variable
// takes precedence over the flag of the same meaning.
func Parse(flags, env []string) (Settings, []Note, error) { return parse(flags, env, false) }

// ParseManifest is Parse for a manifest that is translated: files and objects may be added to it.
// Settings.BGP may have passwords in files, fixed next hops and Services.
func ParseManifest(flags, env []string) (Settings, []Note, error) { return parse(flags, env, true) }

func parse(flags, env []string, translated bool) (Settings, []Note, error) {
	p := newParser(flags, env)
	for _, v := range Variables() {
		if err := p.parse(v); err != nil {
			return Settings{}, nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if _, known := lookUp(name); !known && p.values[name] != "" && hasPrefix(name) {
			p.note(name, unfamiliar)
		}
	}
	err := p.validate()
	if err == nil && !translated {
		err = p.checkAlone()
	}
	if err != nil {
		return Settings{}, nil, err
	}
	return p.Settings, p.notes, nil
}

// IsKnown reports whether the table has a variable, or Parse would note it because of its prefix.
func IsKnown(name string) bool {
	_, known := lookUp(name)
	return known || hasPrefix(name)
}

// WithoutValue returns the note for a variable whose value is not available, with flags and
// variables as for Parse. ok is false if kvip needs the value. A note without Name means that there
// is nothing to report.
func WithoutValue(name string, flags, env []string) (note Note, ok bool) {
	v, listed := lookUp(name)
	switch {
	case !listed && hasPrefix(name):
		return Note{name, unfamiliar}, true
	case !listed:
		return Note{name, notRead}, true
	case !newParser(flags, env).hasEffect(v):
		return Note{}, true
	case v.needsValue():
		return Note{}, false
	}
	return Note{name, v.Meaning}, true
}

// parser has the variables, and the settings translated so far.
type parser struct {
	Settings
	values  map[string]string
	emptied map[string]bool // set to empty by a flag, and not set by a variable
	notes   []Note
}

// newParser merges flags and environment. The settings are kube-vip's defaults.
func newParser(flags, env []string) *parser {
	p := &parser{values: valuesOf(env), emptied: map[string]bool{}, Settings: Settings{
		Port:      config.DefaultPort,
		LeaseName: LeaseName, ServicesLease: ServicesLease, Namespace: Namespace,
		LeaseDuration: LeaseDuration, RenewInterval: RetryPeriod, Class: Class, MetricsAddress: ":2112",
	}}
	for name, value := range valuesOf(flags) {
		if p.values[name] == "" {
			p.values[name], p.emptied[name] = value, value == ""
		}
	}
	return p
}

func (p *parser) note(name, format string, args ...any) {
	p.notes = append(p.notes, Note{Name: name, Text: fmt.Sprintf(format, args...)})
}

// isTrue reports whether a variable is set and true.
func (p *parser) isTrue(name string) bool {
	value, err := strconv.ParseBool(p.values[name])
	return err == nil && value
}

// hasEffect reports whether the feature that a variable configures is on.
func (p *parser) hasEffect(v Variable) bool {
	for v.Requires != "" {
		if !p.isTrue(v.Requires) || v.Requires == "bgp_enable" && !p.byBGP() {
			return false
		}
		v, _ = lookUp(v.Requires)
	}
	return true
}

// parse applies one variable. kube-vip ignores those of a feature that is off, too.
func (p *parser) parse(v Variable) error {
	value := p.values[v.Name]
	switch {
	case !p.hasEffect(v):
		return nil
	case value == "" && p.emptied[v.Name] && v.setEmpty != nil:
		v.setEmpty(p)
		return nil
	case value == "":
		return nil
	}
	if v.set != nil {
		if err := v.set(p, value); err != nil {
			return invalid(v.Name, err.Error())
		}
	}
	if v.Support == Supported || v.isSatisfied(value) {
		return nil
	}
	if v.Support == Refused {
		return invalid(v.Name, v.Meaning)
	}
	p.note(v.Name, "%s", v.Meaning)
	return nil
}

// validate checks the settings that depend on each other.
func (p *parser) validate() error {
	if !p.ControlPlane && !p.Services {
		return invalid("cp_enable", "neither it nor svc_enable is true, so kube-vip would do nothing; "+
			"set one of them to \"true\"")
	}
	for _, check := range []func() error{
		p.checkMethod, p.checkAddress, p.checkLBPort, p.checkClass,
		p.limitTiming, p.chooseInterface, p.checkNames,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkMethod requires ARP or BGP among the methods of announcement: addresses that were announced
// to routers only must not appear on a network segment.
func (p *parser) checkMethod() error {
	switch {
	case p.isTrue("vip_arp"):
		return nil
	case p.BGP != nil:
		return p.finishBGP()
	}
	for _, method := range []string{"vip_wireguard", "vip_routingtable"} {
		if p.isTrue(method) {
			return invalid(method, onlyMethod+
				", and kvip has ARP, neighbour discovery and BGP only; set vip_arp to \"true\" "+
				"if the nodes share a network segment with their clients or router, else keep kube-vip")
		}
	}
	return invalid("vip_arp",
		"neither it nor another method of announcement is true, so kube-vip would announce "+
			"nothing; set it to \"true\"")
}

// checkAddress checks the control plane's addresses. Without a control plane it ignores them, as
// kube-vip does.
func (p *parser) checkAddress() error {
	if !p.ControlPlane {
		p.VIPs = nil
		return nil
	}
	if len(p.VIPs) == 0 {
		return invalid("address", "cp_enable is true and there is no address; write the address")
	}
	return renamed("address", config.CheckVIPs(p.VIPs))
}

// checkLBPort requires that clients use the port of the API servers.
func (p *parser) checkLBPort() error {
	port := p.values[lbPort]
	if !p.ControlPlane || !p.isTrue("lb_enable") || port == "" || port == fmt.Sprint(p.Port) {
		return nil
	}
	return invalid(lbPort, fmt.Sprintf(
		"clients use %s, but API servers listen on %d, and kvip does not translate ports; "+
			"let clients use %d and remove it", port, p.Port, p.Port))
}

// checkClass applies the newer variable for the class.
func (p *parser) checkClass() error {
	const legacy = "lb_class_legacy_handling"
	if !p.Services || p.values[legacy] == "" || p.isTrue(legacy) {
		return nil
	}
	if name, given := p.values["lb_class_name"]; given && name == "" {
		return invalid(legacy, "false with an empty lb_class_name selects Services of every class, "+
			"including those of other load balancers; name the class")
	}
	p.ClassOnly = true
	return nil
}

// limitTiming moves durations into kvip's bounds. kube-vip has none.
func (p *parser) limitTiming() error {
	lease, renew := &p.LeaseDuration, &p.RenewInterval
	if *lease < config.MinLeaseDuration {
		p.note("vip_leaseduration", "%s is too short, kvip uses %s", *lease, config.MinLeaseDuration)
		*lease = config.MinLeaseDuration
	}
	if *lease > config.MaxLeaseDuration {
		p.note("vip_leaseduration", "%s is too long, kvip uses %s", *lease, config.MaxLeaseDuration)
		*lease = config.MaxLeaseDuration
	}
	longest := config.MaxRenewInterval(*lease)
	if rounded := longest.Truncate(100 * time.Millisecond); *renew > longest {
		p.note("vip_retryperiod", "%s is too long for a lease of %s, kvip uses %s", *renew, *lease,
			rounded)
		*renew = rounded
	}
	if *renew < config.MinRenewInterval {
		p.note("vip_retryperiod", "%s is too short, kvip uses %s", *renew, config.MinRenewInterval)
		*renew = config.MinRenewInterval
	}
	return nil
}

// chooseInterface chooses the link for Services. kube-vip uses one link for all of them, whatever
// its subnets: vip_servicesinterface, else vip_interface, else that of the default route.
func (p *parser) chooseInterface() error {
	if p.BGP != nil { // no link announces them
		p.ServicesInterface = ""
	}
	if !p.Services || p.BGP != nil {
		return nil
	}
	fallback := cmp.Or(p.Interface, config.DefaultRoute)
	switch {
	case p.ServicesInterface == autoInterface:
		p.ServicesInterface, p.ServicesFallback = "", fallback
	case p.ServicesInterface == "" && p.Interface == "":
		p.ServicesFallback = fallback
		p.note("vip_servicesinterface",
			"neither it nor vip_interface is set: kvip uses the interface whose subnet "+
				"contains the address, and that of the default route only if there is none")
	case p.ServicesInterface == "":
		p.ServicesInterface = p.Interface
	}
	return nil
}

// variableOf has the variable for each flag of kvip.
var variableOf = map[string]string{
	"vip":                "address",
	"port":               "port",
	"interface":          "vip_interface",
	"lease-name":         "vip_leasename",
	"namespace":          "cp_namespace",
	"lease-duration":     "vip_leaseduration",
	"renew-interval":     "vip_retryperiod",
	"node-name":          "vip_nodename",
	"kubeconfig":         "k8s_config_file",
	"metrics-address":    "prometheus_server",
	"health-address":     "health_check_port",
	"services-name":      "svc_leasename",
	"service-class":      "lb_class_name",
	"v":                  "vip_loglevel",
	"services-interface": "vip_servicesinterface",
	"services-fallback":  "vip_interface",
	"announce":           "bgp_enable",
	"bgp-as":             "bgp_as",
	"bgp-router-id":      "bgp_routerid",
	"bgp-peer":           "bgp_peers",
	"bgp-hold-time":      "bgp_hold_time",
	"health-url":         "control_plane_health_check_address",
}

// checkNames applies kvip's own validation.
func (p *parser) checkNames() error {
	if p.ControlPlane && p.Services && p.BGP == nil && p.LeaseName == p.ServicesLease {
		return invalid("svc_leasename", fmt.Sprintf(
			"%q is the control plane's Lease too, and kvip has an election for "+
				"each; set another name", p.ServicesLease))
	}
	c := config.Default()
	p.Apply(&c)
	return TranslateError(c.Validate(config.Interface, config.Lease, config.Node, config.Client,
		config.Metrics, config.Health, config.Services, config.BGP))
}

// flagName matches the flags in a sentence.
var flagName = regexp.MustCompile(`--([a-z][a-z-]*)`)

// TranslateError converts a *config.UsageError about a setting from kube-vip to an *Error that
// names the variable: the user gave no flag of kvip. It returns other errors unchanged.
func TranslateError(err error) error {
	var usage *config.UsageError
	if !errors.As(err, &usage) {
		return err
	}
	if name, known := variableOf[usage.Flag]; known {
		return renamed(name, err)
	}
	return err
}

// renamed converts a *config.UsageError to an *Error about a variable or annotation. Flags in its
// text become variables, too.
func renamed(name string, err error) error {
	var usage *config.UsageError
	if !errors.As(err, &usage) {
		return err
	}
	return invalid(
		name,
		flagName.ReplaceAllStringFunc(usage.Reason+"; "+usage.Hint, func(flag string) string {
			return cmp.Or(variableOf[strings.TrimPrefix(flag, "--")], flag)
		}),
	)
}

// valuesOf parses entries of the form NAME=value.
func valuesOf(env []string) map[string]string {
	values := map[string]string{}
	for _, entry := range env {
		if name, value, found := strings.Cut(entry, "="); found {
			values[name] = value
		}
	}
	return values
}

func hasPrefix(name string) bool {
	return slices.ContainsFunc(
		prefixes,
		func(prefix string) bool { return strings.HasPrefix(name, prefix) },
	)
}
