// Package manifest turns a configuration into Kubernetes objects: static pod, DaemonSet and RBAC.
// It fills the typed objects of the templates and prints them; it applies nothing to a cluster.
package manifest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
)

// shutdownRoom is what an orderly shutdown may take beyond the lease duration, after which the
// kernel has ended the address in any case (E5).
const shutdownRoom = 5 * time.Second

// servicesShutdown is what handing over and removing thousands of addresses may take (S6). A planned
// move of one takes at most 1 s (S3).
const servicesShutdown = 30 * time.Second

// metricsPort names the port of /metrics in every manifest: monitoring finds pods by it.
const metricsPort = "metrics"

// component is the label that tells kvip's pods by their job.
const component = "app.kubernetes.io/component"

// decode reads one document of a template strictly into a typed object.
func decode[T any](document []byte) (*T, error) {
	object := new(T)
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return nil, fmt.Errorf("decode template of %T: %w", object, err)
	}
	return object, nil
}

// fill puts the configuration into the pod's only container and the parts around it.
func fill(spec *corev1.PodSpec, cfg config.Config) error {
	if len(spec.Containers) != 1 {
		return fmt.Errorf("fill template: %d containers instead of one", len(spec.Containers))
	}
	health, err := netip.ParseAddrPort(cfg.HealthAddress)
	if err != nil {
		return fmt.Errorf("parse --health-address: %w", err)
	}
	c := &spec.Containers[0]
	c.Image = cfg.Image
	c.Args = append(c.Args, cfg.Args()...)
	if err := probeAt(c, health); err != nil {
		return err
	}
	if cfg.MetricsAddress != "" {
		metrics, err := netip.ParseAddrPort(hostAndPort(cfg.MetricsAddress))
		if err != nil {
			return fmt.Errorf("parse --metrics-address: %w", err)
		}
		c.Ports = []corev1.ContainerPort{{Name: metricsPort, ContainerPort: int32(metrics.Port())}}
	}
	grace := cfg.LeaseDuration + shutdownRoom
	if cfg.Services {
		grace = max(grace, servicesShutdown)
		roomForServices(&c.Resources)
	}
	seconds := int64(grace / time.Second)
	spec.TerminationGracePeriodSeconds = &seconds
	return nil
}

// probeAt makes the probes of the container ask the agent with that --health-address.
func probeAt(c *corev1.Container, health netip.AddrPort) error {
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe} {
		if probe == nil || probe.Exec == nil || len(probe.Exec.Command) == 0 {
			return fmt.Errorf("fill template: a probe without a command")
		}
		probe.Exec.Command[len(probe.Exec.Command)-1] = health.String()
	}
	if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil {
		return fmt.Errorf("fill template: a readiness probe without httpGet")
	}
	c.ReadinessProbe.HTTPGet.Host = health.Addr().String()
	c.ReadinessProbe.HTTPGet.Port = intstr.FromInt32(int32(health.Port()))
	return nil
}

// hostAndPort returns an address with a host: as a flag it may be a port alone.
func hostAndPort(address string) string {
	if strings.HasPrefix(address, ":") {
		return "[::]" + address
	}
	return address
}

// roomForServices is for what a cluster with 5000 Services has its agents remember: every Service, its
// EndpointSlices and every node.
func roomForServices(r *corev1.ResourceRequirements) {
	r.Requests[corev1.ResourceMemory] = resource.MustParse("64Mi")
	r.Limits[corev1.ResourceMemory] = resource.MustParse("256Mi")
}

// servicesAlone is whether the agent has no control plane to care for.
func servicesAlone(cfg config.Config) bool { return cfg.Services && len(cfg.VIPs) == 0 }
