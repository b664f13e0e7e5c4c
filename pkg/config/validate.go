package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The bounds that Validate enforces.
const (
	// MinLeaseDuration leaves one whole second of address lifetime after the margin and the
	// kernel's lag of E1, 0.5 and 1.2 s, and 0.3 s for the API server's answer.
	MinLeaseDuration = 3 * time.Second
	// MaxLeaseDuration is the longest that an agent keeps to. It bounds what one wrong write
	// to the Lease can cost (E2).
	MaxLeaseDuration = 10 * time.Minute
	// MinRenewInterval is how soon after one request the election sends the next at best.
	MinRenewInterval = 200 * time.Millisecond
	// maxInterfaceName is IFNAMSIZ less its terminating zero (linux/if.h).
	maxInterfaceName = 15
)

// Validate checks the settings of the groups, or all of them when none is named, and returns the
// first *UsageError. It is pure: what must be asked of the host is the agent's to check.
func (c Config) Validate(only ...Group) error {
	has := groups(only)
	for _, check := range []struct {
		group Group
		run   func(Config) error
	}{
		{Address, Config.checkVIPs},
		{Interface, Config.checkInterface},
		{APIServer, Config.checkServer},
		{Lease, Config.checkLease},
		{Timing, Config.checkTiming},
		{Client, Config.checkKubeconfigs},
		{Node, Config.checkNode},
		{Metrics, Config.checkMetrics},
		{Health, Config.checkHealth},
		{Services, Config.checkServices},
		{Image, Config.checkImage},
		{Logging, Config.checkLogging},
	} {
		if !has(check.group) {
			continue
		}
		if err := check.run(c); err != nil {
			return err
		}
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

func (c Config) checkServer() error {
	if c.Port < 1 || c.Port > math.MaxUint16 {
		return invalid("port", fmt.Sprintf("%d is out of range", c.Port), "give a port from 1 to 65535")
	}
	return nil
}

func (c Config) checkLease() error {
	if !validSubdomain(c.LeaseName) {
		return invalid("lease-name", fmt.Sprintf("%q cannot name a Kubernetes object", c.LeaseName), subdomainHint)
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
		return invalid(lease, fmt.Sprintf("%s is too short", d), fmt.Sprintf("give at least %s", MinLeaseDuration))
	case d%time.Second != 0:
		return invalid(lease, fmt.Sprintf("%s is not a whole number of seconds", d), "a Lease counts in whole seconds, give one like 5s")
	case d > MaxLeaseDuration:
		return invalid(lease, fmt.Sprintf("%s is too long: at most %s", d, MaxLeaseDuration), "give one like 5s")
	}
	switch r := c.RenewInterval; {
	case r < MinRenewInterval:
		return invalid(renew, fmt.Sprintf("%s is too short", r), fmt.Sprintf("give at least %s", MinRenewInterval))
	case r > c.LeaseDuration/3:
		return invalid(renew, fmt.Sprintf("%s is more than a third of --lease-duration %s", r, c.LeaseDuration),
			"lower it or raise --lease-duration, so that one lost renewal does not lose the VIP")
	case r > MaxRenewInterval(c.LeaseDuration):
		return invalid(renew, fmt.Sprintf("%s is too long for --lease-duration %s: the address would expire before it", r, c.LeaseDuration),
			fmt.Sprintf("give at most %s, or a longer --lease-duration", MaxRenewInterval(c.LeaseDuration)))
	}
	return nil
}

// MaxRenewInterval is the longest renew interval for a lease of d: a third of it, and 0.3 s
// less than the lifetime of an address, which is 1 s for the shortest lease (E1).
func MaxRenewInterval(d time.Duration) time.Duration {
	return min(d/3, d-2300*time.Millisecond)
}

func (c Config) checkKubeconfigs() error {
	for _, file := range c.Kubeconfigs {
		if file == "" || path.Clean(file) == "/" {
			return invalid("kubeconfig", fmt.Sprintf("%q names no file", file), "give paths separated by commas, or leave the flag out")
		}
	}
	return c.checkStateDir()
}

// checkStateDir wants a path that is the same wherever the process was started.
func (c Config) checkStateDir() error {
	if c.StateDir == "" || path.IsAbs(c.StateDir) && path.Clean(c.StateDir) != "/" {
		return nil
	}
	return invalid("state-dir", fmt.Sprintf("%q is not a directory of its own", c.StateDir), "give an absolute path like "+DefaultStateDir+", or nothing")
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
	_, err := parseHostPort("metrics-address", c.MetricsAddress)
	return err
}

func (c Config) checkHealth() error {
	if err := c.checkHealthURL(); err != nil {
		return err
	}
	health, err := parseHostPort("health-address", c.HealthAddress)
	if err != nil {
		return err
	}
	if !health.Addr().IsLoopback() {
		return invalid("health-address", fmt.Sprintf("%q is not on loopback", c.HealthAddress), "give one like "+DefaultHealthAddress)
	}
	metrics, err := parseHostPort("metrics-address", c.MetricsAddress)
	if err == nil && metrics.Port() == health.Port() && (metrics.Addr().IsUnspecified() || metrics.Addr() == health.Addr()) {
		return invalid("metrics-address", fmt.Sprintf("%q takes the port of --health-address %s", c.MetricsAddress, c.HealthAddress),
			"give each a port of its own")
	}
	return nil
}

func (c Config) checkHealthURL() error {
	if c.HealthURL == "" {
		return nil
	}
	u, err := url.Parse(c.HealthURL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		return invalid("health-url", fmt.Sprintf("%q is not an http or https URL with a host", c.HealthURL),
			"give one like https://127.0.0.1:6443/readyz")
	}
	return nil
}

// parseHostPort accepts an IP address or nothing before the port; nothing means every address.
func parseHostPort(flag, text string) (netip.AddrPort, error) {
	full := text
	if strings.HasPrefix(text, ":") {
		full = "[::]" + text
	}
	ap, err := netip.ParseAddrPort(full)
	if err != nil || ap.Port() == 0 {
		return ap, invalid(flag, fmt.Sprintf("%q is not an IP address and a port", text), "give one like 127.0.0.1:"+strconv.Itoa(2112))
	}
	return ap, nil
}

func (c Config) checkServices() error {
	for flag, name := range map[string]string{"services-name": c.ServicesName, "daemonset": c.DaemonSet} {
		if name != "" && !validSubdomain(name) || name == "" && flag == "services-name" {
			return invalid(flag, fmt.Sprintf("%q cannot name a Kubernetes object", name), subdomainHint)
		}
	}
	if !serviceClass.MatchString(c.ServiceClass) {
		return invalid("service-class", fmt.Sprintf("%q is no loadBalancerClass", c.ServiceClass), "give a label-like name such as "+DefaultServiceClass)
	}
	if _, err := path.Match(c.ServicesInterface, ""); err != nil || strings.ContainsAny(c.ServicesInterface, "/: \t\n") {
		return invalid("services-interface", fmt.Sprintf("%q names no interfaces", c.ServicesInterface), "give a name as `ip link` shows it, or a pattern like eth*")
	}
	return c.checkServicesFallback()
}

func (c Config) checkServicesFallback() error {
	switch {
	case c.ServicesFallback == "":
		return nil
	case !validInterfaceName(c.ServicesFallback):
		return invalid("services-fallback", fmt.Sprintf("no Linux interface can be named %q", c.ServicesFallback),
			"give a name as `ip link` shows it, or "+DefaultRoute)
	case c.ServicesInterface != "":
		return invalid("services-fallback", "it means nothing beside --services-interface, which names the interfaces for all addresses",
			"leave one of them out")
	}
	return nil
}

// serviceClass is what the API accepts as spec.loadBalancerClass of a Service: a label's key.
var serviceClass = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)

func (c Config) checkImage() error {
	if c.Image == "" || strings.ContainsAny(c.Image, " \t\r\n") {
		return invalid("image", fmt.Sprintf("%q is not an image reference", c.Image), "give one like "+ImageRepository+":latest")
	}
	return nil
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

const subdomainHint = "use lower-case letters, digits, '-' and '.', at most 253 characters"

// subdomain is a DNS subdomain as RFC 1123 and Kubernetes have it.
var subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

func validSubdomain(name string) bool { return len(name) <= 253 && subdomain.MatchString(name) }

func invalid(flag, reason, hint string) error {
	return &UsageError{Flag: flag, Reason: reason, Hint: hint}
}
