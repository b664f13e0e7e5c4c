package kubevip

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// settle looks at settings that only mean something together.
func (r *parser) settle() error {
	if !r.ControlPlane && !r.Services {
		return refuse("cp_enable", "neither it nor svc_enable is true, so kube-vip would do nothing; set what is meant to \"true\"")
	}
	for _, check := range []func() error{r.settleWay, r.settleAddress, r.settlePort, r.settleClass, r.settleTiming, r.settleInterface, r.settleNames} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// settleWay wants ARP among the ways of announcing that are on. What was meant for routers alone may not suddenly be
// announced on a segment.
func (r *parser) settleWay() error {
	if r.is("vip_arp") {
		return nil
	}
	for _, way := range []string{"bgp_enable", "vip_wireguard", "vip_routingtable"} {
		if r.is(way) {
			return refuse(way, "it is the only way of announcing that is on, and kvip has ARP and neighbour discovery alone; "+
				"set vip_arp to \"true\" if the nodes share a segment with their clients or router, else stay with kube-vip")
		}
	}
	return refuse("vip_arp", "it is not true, nor is any other way of announcing, so kube-vip would announce nothing; set it to \"true\"")
}

// settleAddress checks what the control plane is to have, and forgets it where it is to have nothing, as kube-vip does.
func (r *parser) settleAddress() error {
	if !r.ControlPlane {
		r.VIPs = nil
		return nil
	}
	if len(r.VIPs) == 0 {
		return refuse("address", "cp_enable is true and there is no address; write the one that is meant")
	}
	return plain("address", config.CheckVIPs(r.VIPs))
}

// settlePort wants clients to reach the API server at the port that they use.
func (r *parser) settlePort() error {
	port := r.values[portOfBalancer]
	if !r.ControlPlane || !r.is("lb_enable") || port == "" || port == fmt.Sprint(r.Port) {
		return nil
	}
	return refuse(portOfBalancer, fmt.Sprintf("clients use %s and API servers listen on %d, and kvip does not translate ports; let clients use %d and remove it", port, r.Port, r.Port))
}

// settleClass knows the newer way of saying which class is meant.
func (r *parser) settleClass() error {
	if !r.Services || r.values["lb_class_legacy_handling"] == "" || r.is("lb_class_legacy_handling") {
		return nil
	}
	if name, given := r.values["lb_class_name"]; given && name == "" {
		return refuse("lb_class_legacy_handling", "false with an empty lb_class_name means Services of every class, those of other load balancers too; name the class that is meant")
	}
	r.ClassOnly = true
	return nil
}

// settleTiming keeps kvip's bounds, which kube-vip does not have.
func (r *parser) settleTiming() error {
	if r.LeaseDuration < config.MinLeaseDuration {
		r.note("vip_leaseduration", "%s is too short, %s is taken", r.LeaseDuration, config.MinLeaseDuration)
		r.LeaseDuration = config.MinLeaseDuration
	}
	if r.LeaseDuration > config.MaxLeaseDuration {
		r.note("vip_leaseduration", "%s is too long, %s is taken", r.LeaseDuration, config.MaxLeaseDuration)
		r.LeaseDuration = config.MaxLeaseDuration
	}
	longest := config.MaxRenewInterval(r.LeaseDuration)
	if most := longest.Truncate(100 * time.Millisecond); r.RenewInterval > longest {
		r.note("vip_retryperiod", "%s is too long for a lease of %s, %s is taken", r.RenewInterval, r.LeaseDuration, most)
		r.RenewInterval = most
	}
	if r.RenewInterval < config.MinRenewInterval {
		r.note("vip_retryperiod", "%s is too short, %s is taken", r.RenewInterval, config.MinRenewInterval)
		r.RenewInterval = config.MinRenewInterval
	}
	return nil
}

// settleInterface finds the link for Services. kube-vip has one for all of them, whatever its subnets: that of the
// control plane's address where no other is named, and the default route's where that is not named either.
func (r *parser) settleInterface() error {
	if !r.Services {
		return nil
	}
	fallback := cmp.Or(r.Interface, config.DefaultRoute)
	switch {
	case r.ServicesInterface == autoInterface:
		r.ServicesInterface, r.ServicesFallback = "", fallback
	case r.ServicesInterface == "" && r.Interface == "":
		r.ServicesFallback = fallback
		r.note("vip_servicesinterface", "is not given, nor is vip_interface: an address goes to the interface whose subnet contains it, "+
			"and to that of the default route only where there is none")
	case r.ServicesInterface == "":
		r.ServicesInterface = r.Interface
	}
	return nil
}

// variableOf is the variable behind a flag of kvip's.
var variableOf = map[string]string{
	"vip": "address", "port": "port", "interface": "vip_interface", "lease-name": "vip_leasename", "namespace": "cp_namespace",
	"lease-duration": "vip_leaseduration", "renew-interval": "vip_retryperiod", "node-name": "vip_nodename",
	"kubeconfig": "k8s_config_file", "metrics-address": "prometheus_server", "health-address": "health_check_port",
	"services-name": "svc_leasename", "service-class": "lb_class_name", "v": "vip_loglevel",
	"services-interface": "vip_servicesinterface", "services-fallback": "vip_interface",
}

// settleNames lets kvip's own validation speak of kube-vip's variables.
func (r *parser) settleNames() error {
	if r.ControlPlane && r.Services && r.LeaseName == r.ServicesLease {
		return refuse("svc_leasename", fmt.Sprintf("%q is the control plane's lease too, and kvip has an election for each; give it a name of its own", r.ServicesLease))
	}
	c := config.Default()
	r.Apply(&c)
	return TranslateError(c.Validate(config.Interface, config.Lease, config.Node, config.Client, config.Metrics, config.Health, config.Services))
}

// flagName finds the flags in a sentence.
var flagName = regexp.MustCompile(`--([a-z][a-z-]*)`)

// TranslateError turns a *config.UsageError about settings that came from kube-vip's into an *Error: it speaks of the
// variables, for the user wrote no flag of kvip's. Other errors stay as they are.
func TranslateError(err error) error {
	var usage *config.UsageError
	if !errors.As(err, &usage) {
		return err
	}
	if name, known := variableOf[usage.Flag]; known {
		return plain(name, err)
	}
	return err
}

// plain says of a variable or annotation what pkg/config says of a flag.
func plain(name string, err error) error {
	var usage *config.UsageError
	if errors.As(err, &usage) {
		return refuse(name, inVariables(usage.Reason+"; "+usage.Hint))
	}
	return err
}

// inVariables replaces flags of kvip's in a sentence by the variables that mean the same.
func inVariables(sentence string) string {
	return flagName.ReplaceAllStringFunc(sentence, func(flag string) string {
		if name, known := variableOf[strings.TrimPrefix(flag, "--")]; known {
			return name
		}
		return flag
	})
}
