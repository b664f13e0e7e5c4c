package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/quorum"
)

// The bounds that Validate enforces.
const (
	// MinLeaseDuration leaves one whole second of address lifetime after the margin and the
	// kernel's lag of E1, 0.5 and 1.2 s, and 0.3 s for the API server's answer.
	MinLeaseDuration = 3 * time.Second
	// MaxLeaseDuration bounds what one wrong write to the Lease can cost (E2).
	MaxLeaseDuration = 10 * time.Minute
	// MinRenewInterval is the shortest time between two requests of the election.
	MinRenewInterval = 200 * time.Millisecond
	// maxInterfaceName is IFNAMSIZ less its terminating zero (linux/if.h).
	maxInterfaceName = 15
)

// UsageError is a setting that kvip refuses before it changes anything. Commands exit with 2.
type UsageError struct {
	// Flag is the flag's name without dashes, such as "vip".
	Flag string
	// Reason is what is wrong with the value, quoting it.
	Reason string
	// Hint is what to do instead. It may be empty.
	Hint string
}

// Error names the flag, the reason and the hint, in this order.
func (e *UsageError) Error() string {
	text := dashed(e.Flag) + ": " + e.Reason
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func invalid(flag, reason, hint string) error {
	return &UsageError{Flag: flag, Reason: reason, Hint: hint}
}

// Validate checks the settings of the groups, or all of them if none is named, and returns the
// first *UsageError. It looks at c only: the agent checks what depends on the host.
func (c Config) Validate(only ...Group) error {
	for _, r := range registrations {
		if !includes(only, r.group) {
			continue
		}
		if err := r.check(c); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkVIPs() error {
	if len(c.VIPs) == 0 && c.Services {
		return nil
	}
	if len(c.VIPs) == 0 {
		return invalid("vip", "no virtual IP address given", "add one like --vip 192.0.2.10")
	}
	return CheckVIPs(c.VIPs)
}

// CheckVIPs refuses, with a *UsageError, addresses that cannot be virtual IPs (netaddr.Problem)
// and two of one family. An empty list is valid: commands that need a VIP use Validate.
func CheckVIPs(vips []netip.Addr) error {
	var first [2]netip.Addr
	for _, vip := range vips {
		if problem := netaddr.Problem(vip); problem != "" {
			return invalid("vip", fmt.Sprintf("%s is %s", vip, problem),
				"give a free address of the nodes' network")
		}
		family := 0
		if vip.Is6() {
			family = 1
		}
		if first[family].IsValid() {
			return invalid("vip", fmt.Sprintf("%s and %s are of one family", first[family], vip),
				"give one IPv4, one IPv6, or one of each")
		}
		first[family] = vip
	}
	return nil
}

// CheckInSubnet refuses, with a *UsageError, a VIP that hosts of an on-link prefix cannot use
// (netaddr.SubnetAddresses). A VIP outside of the prefix is valid.
func CheckInSubnet(vip netip.Addr, onLink netip.Prefix) error {
	if name := netaddr.SubnetAddresses(onLink)[vip]; name != "" {
		return invalid("vip", fmt.Sprintf("%s is the %s of %s", vip, name, onLink.Masked()),
			"give a free address between the first and the last")
	}
	return nil
}

func (c Config) checkInterface() error {
	if c.Interface == "" || validInterfaceName(c.Interface) {
		return nil
	}
	return invalid("interface", fmt.Sprintf("no Linux interface can be named %q", c.Interface),
		"give a name of at most 15 characters without spaces, '/' and ':', as `ip link` shows it")
}

// validInterfaceName follows dev_valid_name of the kernel (net/core/dev.c).
func validInterfaceName(name string) bool {
	if name == "" || len(name) > maxInterfaceName || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsAny(name, "/: \t\n\v\f\r\x00")
}

func (c Config) checkPort() error {
	if c.Port < 1 || c.Port > math.MaxUint16 {
		return invalid("port", fmt.Sprintf("%d is out of range", c.Port), "give a port from 1 to 65535")
	}
	return nil
}

func (c Config) checkLease() error {
	if !validSubdomain(c.LeaseName) {
		return invalid("lease-name", fmt.Sprintf("%q cannot name a Kubernetes object", c.LeaseName),
			subdomainHint)
	}
	if !validSubdomain(c.Namespace) || strings.Contains(c.Namespace, ".") || len(c.Namespace) > 63 {
		return invalid("namespace", fmt.Sprintf("%q cannot name a namespace", c.Namespace),
			"use at most 63 lower-case letters, digits and '-'")
	}
	return nil
}

func (c Config) checkTiming() error {
	const lease, renew = "lease-duration", "renew-interval"
	switch d := c.LeaseDuration; {
	case d < MinLeaseDuration:
		return invalid(lease, fmt.Sprintf("%s is too short", d),
			fmt.Sprintf("give at least %s", MinLeaseDuration))
	case d%time.Second != 0:
		return invalid(lease, fmt.Sprintf("%s is not a whole number of seconds", d),
			"a Lease counts in whole seconds, give one like 5s")
	case d > MaxLeaseDuration:
		return invalid(lease, fmt.Sprintf("%s is too long: at most %s", d, MaxLeaseDuration),
			"give one like 5s")
	}
	longest := MaxRenewInterval(c.LeaseDuration)
	switch r := c.RenewInterval; {
	case r < MinRenewInterval:
		return invalid(renew, fmt.Sprintf("%s is too short", r),
			fmt.Sprintf("give at least %s", MinRenewInterval))
	case r > c.LeaseDuration/3:
		return invalid(renew,
			fmt.Sprintf("%s is more than a third of --lease-duration %s", r, c.LeaseDuration),
			"lower it or raise --lease-duration, so that one lost renewal does not lose the VIP")
	case r > longest:
		return invalid(renew, fmt.Sprintf("%s is too long for --lease-duration %s: "+
			"the address would expire before it", r, c.LeaseDuration),
			fmt.Sprintf("give at most %s, or a longer --lease-duration", longest))
	}
	return nil
}

// MaxRenewInterval is the longest renew interval for a lease of d: a third of d, and at most the
// lifetime of an address less 0.3 s. That lifetime is 1 s for the shortest lease (E1).
func MaxRenewInterval(d time.Duration) time.Duration {
	return min(d/3, d-2300*time.Millisecond)
}

func (c Config) checkFailover() error {
	const timeout = "failover-timeout"
	switch w := c.FailoverTimeout; {
	case w == 0:
	case w < quorum.MinWindow:
		return invalid(timeout, fmt.Sprintf("%s is too short", w),
			fmt.Sprintf("give at least %s, or 0 to wait until the Lease has expired", quorum.MinWindow))
	case w > quorum.MaxWindow:
		return invalid(timeout, fmt.Sprintf("%s is too long: at most %s", w, quorum.MaxWindow),
			"give one like 350ms, or 0 to wait until the Lease has expired")
	}
	if c.DrainTimeout < 0 || c.DrainTimeout > MaxDrainTimeout {
		return invalid("drain-timeout", fmt.Sprintf("%s is out of range", c.DrainTimeout),
			fmt.Sprintf("give 0 to %s", MaxDrainTimeout))
	}
	if c.PeerPort < 1 || c.PeerPort > math.MaxUint16 {
		return invalid("peer-port", fmt.Sprintf("%d is out of range", c.PeerPort),
			"give a port from 1 to 65535")
	}
	return nil
}

func (c Config) checkHealth() error {
	if err := c.checkHealthURL(); err != nil {
		return err
	}
	health, err := parseHostPort("health-address", c.HealthAddress, DefaultHealthAddress)
	if err != nil {
		return err
	}
	if !health.Addr().IsLoopback() {
		return invalid("health-address", fmt.Sprintf("%q is not on loopback", c.HealthAddress),
			"give one like "+DefaultHealthAddress)
	}
	metrics, err := parseHostPort("metrics-address", c.MetricsAddress, DefaultMetricsAddress)
	sameHost := metrics.Addr().IsUnspecified() || metrics.Addr() == health.Addr()
	if err == nil && metrics.Port() == health.Port() && sameHost {
		return invalid(
			"metrics-address",
			fmt.Sprintf("%q has the port of --health-address %s", c.MetricsAddress,
				c.HealthAddress),
			"give each a port of its own",
		)
	}
	return nil
}

func (c Config) checkHealthURL() error {
	if c.HealthURL == "" {
		return nil
	}
	u, err := url.Parse(c.HealthURL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		return invalid("health-url",
			fmt.Sprintf("%q is not an http or https URL with a host", c.HealthURL),
			"give one like https://127.0.0.1:6443/readyz")
	}
	return nil
}

// parseHostPort accepts a port after an IP address or after nothing, which means every address. Its
// error gives an example.
func parseHostPort(flag, text, example string) (netip.AddrPort, error) {
	full := text
	if strings.HasPrefix(text, ":") {
		full = "[::]" + text
	}
	ap, err := netip.ParseAddrPort(full)
	if err != nil || ap.Port() == 0 {
		return ap, invalid(flag, fmt.Sprintf("%q is not an IP address and a port", text),
			"give one like "+example)
	}
	return ap, nil
}

func (c Config) checkServices() error {
	for _, row := range []struct{ flag, name string }{
		{"services-name", c.ServicesName}, {"daemonset", c.DaemonSet},
	} {
		if row.name == "" && row.flag == "daemonset" || validSubdomain(row.name) {
			continue
		}
		return invalid(row.flag, fmt.Sprintf("%q cannot name a Kubernetes object", row.name),
			subdomainHint)
	}
	if err := c.checkServiceClass(); err != nil {
		return err
	}
	if _, err := path.Match(c.ServicesInterface, ""); err != nil ||
		strings.ContainsAny(c.ServicesInterface,
			"/: \t\n") {
		return invalid("services-interface",
			fmt.Sprintf("%q is not a name or pattern of interfaces", c.ServicesInterface),
			"give a name as `ip link` shows it, or a pattern like eth*")
	}
	switch {
	case c.ServicesFallback == "":
		return nil
	case !validInterfaceName(c.ServicesFallback):
		return invalid("services-fallback",
			fmt.Sprintf("no Linux interface can be named %q", c.ServicesFallback),
			"give a name as `ip link` shows it, or "+DefaultRoute)
	case c.ServicesInterface != "":
		return invalid("services-fallback",
			"it has no effect together with --services-interface, which selects the interfaces for all "+
				"addresses",
			"remove one of them")
	}
	return nil
}

// serviceClass is what the API accepts as spec.loadBalancerClass of a Service: a label's key.
var serviceClass = regexp.MustCompile(
	`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`,
)

func (c Config) checkServiceClass() error {
	if !serviceClass.MatchString(c.ServiceClass) {
		return invalid("service-class", fmt.Sprintf("%q is not a loadBalancerClass", c.ServiceClass),
			"give a label-like name such as "+DefaultServiceClass)
	}
	return nil
}

func (c Config) checkClient() error {
	if err := c.checkKubeconfigs(); err != nil {
		return err
	}
	if c.StateDir == "" || path.IsAbs(c.StateDir) && path.Clean(c.StateDir) != "/" {
		return nil
	}
	return invalid("state-dir", fmt.Sprintf("%q is not an absolute path of a directory", c.StateDir),
		"give one like "+DefaultStateDir+", or nothing")
}

func (c Config) checkKubeconfigs() error {
	for _, file := range c.Kubeconfigs {
		if file == "" || path.Clean(file) == "/" {
			return invalid("kubeconfig", fmt.Sprintf("%q does not name a file", file),
				"give paths separated by commas, or remove the flag")
		}
	}
	return nil
}

func (c Config) checkNode() error {
	if c.NodeName == "" || validSubdomain(c.NodeName) {
		return nil
	}
	return invalid("node-name", fmt.Sprintf("%q cannot name a node", c.NodeName), subdomainHint)
}

func (c Config) checkMetrics() error {
	if c.MetricsAddress == "" {
		return nil
	}
	_, err := parseHostPort("metrics-address", c.MetricsAddress, DefaultMetricsAddress)
	return err
}

func (c Config) checkLogging() error {
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return invalid("log-format", fmt.Sprintf("%q is unknown", c.LogFormat), "give text or json")
	}
	if c.Verbosity < 0 {
		return invalid("v", fmt.Sprintf("%d is negative", c.Verbosity), "give 0 or more")
	}
	return nil
}

func (c Config) checkImage() error {
	if c.Image == "" || strings.ContainsAny(c.Image, " \t\r\n") {
		return invalid("image", fmt.Sprintf("%q is not an image reference", c.Image),
			"give one like "+ImageRepository+":latest")
	}
	return nil
}

const subdomainHint = "use lower-case letters, digits, '-' and '.', at most 253 characters"

// subdomain is a DNS subdomain as RFC 1123 and Kubernetes define it.
var subdomain = regexp.MustCompile(
	`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`,
)

func validSubdomain(name string) bool { return len(name) <= 253 && subdomain.MatchString(name) }
