// Package manifest translates a configuration to Kubernetes objects: static pod, DaemonSet and
// RBAC. It fills the typed objects of the templates and prints them. It does not access a cluster.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
)

const (
	// shutdownMargin is the longest time of a shutdown beyond the lease duration. After the lease
	// duration the kernel has removed the address in any case (E5).
	shutdownMargin = 5 * time.Second
	// servicesShutdown is the time to hand over and remove thousands of addresses (S6). A planned
	// move of one address takes at most 1 s (S3).
	servicesShutdown = 30 * time.Second
	// bgpShutdown is the time for a worse path, the withdrawal and the end of the sessions beyond the
	// hold time, for which a router may not acknowledge the withdrawal (B4).
	bgpShutdown = 6 * time.Second
	// metricsPort is the name of the port of /metrics in every manifest. Monitoring selects it.
	metricsPort = "metrics"
	// peerPort is the name of the agents' UDP port (F10).
	peerPort = "peers"
	// componentLabel distinguishes kvip's pods by their job.
	componentLabel = "app.kubernetes.io/component"
)

// Write prints the objects as YAML documents, in order. Equal objects give equal bytes: keys are
// sorted, and fields that only a server sets (creationTimestamp, status) are left out.
func Write(w io.Writer, objects ...any) error {
	var out bytes.Buffer
	for i, object := range objects {
		document, err := marshal(object)
		if err != nil {
			return fmt.Errorf("encode %T: %w", object, err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(document)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func marshal(object any) ([]byte, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a float64 would print a priority with an exponent
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	dropNulls(fields)
	return yaml.Marshal(fields)
}

// dropNulls removes what typed objects print for fields that only a server sets. It keeps empty
// objects: in Kubernetes they can have a meaning (emptyDir: {}).
func dropNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			if item == nil {
				delete(v, key)
			} else {
				dropNulls(item)
			}
		}
	case []any:
		for _, item := range v {
			dropNulls(item)
		}
	}
}

// decode decodes one document of a template strictly into a typed object.
func decode[T any](document []byte) (*T, error) {
	object := new(T)
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return nil, fmt.Errorf("decode template of %T: %w", object, err)
	}
	return object, nil
}

// fill applies the configuration to the pod and its only container.
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
	if err := setProbes(c, health); err != nil {
		return err
	}
	if cfg.MetricsAddress != "" {
		address := cfg.MetricsAddress
		if strings.HasPrefix(address, ":") {
			address = "[::]" + address
		}
		metrics, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("parse --metrics-address: %w", err)
		}
		c.Ports = []corev1.ContainerPort{{Name: metricsPort, ContainerPort: int32(metrics.Port())}}
	}
	if len(cfg.VIPs) > 0 && cfg.FailoverTimeout > 0 && !cfg.ByBGP() {
		setFailover(c, cfg)
	}
	grace := cfg.LeaseDuration + shutdownMargin
	switch {
	case cfg.ByBGP():
		grace = max(grace, cfg.BGPHoldTime+bgpShutdown)
	case len(cfg.VIPs) > 0:
		grace = max(grace, cfg.DrainTimeout+shutdownMargin)
	}
	if cfg.Services {
		grace = max(grace, servicesShutdown)
		// Enough to cache the Services, EndpointSlices and nodes of a cluster with 5000 Services.
		c.Resources.Requests[corev1.ResourceMemory] = resource.MustParse("64Mi")
		c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("256Mi")
	}
	seconds := int64(grace / time.Second)
	spec.TerminationGracePeriodSeconds = &seconds
	return nil
}

// setFailover reserves the port of the agents and permits a real-time priority: on a busy node an
// ordinary thread may wait for longer than the fence stays open (F9). Kernels that refuse control
// groups this priority (CONFIG_RT_GROUP_SCHED) share the CPU by the requests, so that the agent
// needs as much as etcd.
func setFailover(c *corev1.Container, cfg config.Config) {
	c.Ports = append(c.Ports, corev1.ContainerPort{
		Name: peerPort, ContainerPort: int32(cfg.PeerPort), Protocol: corev1.ProtocolUDP,
	})
	c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_NICE")
	c.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
}

// setProbes sets the address of the agent in the probes of the container.
func setProbes(c *corev1.Container, health netip.AddrPort) error {
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

// servicesOnly reports whether the agent holds no VIP of a control plane.
func servicesOnly(cfg config.Config) bool { return cfg.Services && len(cfg.VIPs) == 0 }
