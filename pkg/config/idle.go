package config

import (
	"slices"

	"github.com/spf13/pflag"
)

// The flags that mean something in one job alone, in the order of the help text.
var (
	controlPlaneFlags = []string{"interface", "interface-wait", "lease-name", "lease-duration", "renew-interval", "health-url"}
	servicesFlags     = []string{
		"services-name", "service-class", "service-class-only", "services-interface", "services-fallback", "daemonset", "kube-vip",
	}
)

// unused says why a flag means nothing for what c asks for, or "".
func (c Config) unused(flag string) (reason, hint string) {
	switch {
	case !c.Services && slices.Contains(servicesFlags, flag):
		return "it is about Services, which are not asked for", "leave it out, or add --services"
	case c.Services && len(c.VIPs) == 0 && slices.Contains(controlPlaneFlags, flag):
		return "it is about a virtual IP of the control plane, which is not asked for", "leave it out, or add --vip"
	}
	return "", ""
}

// CheckUnusedFlags refuses, with a *UsageError, a flag that was given and means nothing for what c asks for:
// whoever gave it expects something of it.
func (c Config) CheckUnusedFlags(fs *pflag.FlagSet) error {
	for _, flag := range slices.Concat(controlPlaneFlags, servicesFlags) {
		if reason, hint := c.unused(flag); reason != "" && fs.Changed(flag) {
			return invalid(flag, reason, hint)
		}
	}
	return nil
}
