package migrate

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// carrySet gives the DaemonSet what kube-vip's says about updates, and its pods what carry does.
func (w *workload) carrySet(set *appsv1.DaemonSet, metricsAddress string) {
	if w.set.UpdateStrategy.Type != "" {
		set.Spec.UpdateStrategy = w.set.UpdateStrategy
	}
	set.Spec.MinReadySeconds, set.Spec.RevisionHistoryLimit = w.set.MinReadySeconds, w.set.RevisionHistoryLimit
	w.carry(&set.Spec.Template.ObjectMeta, &set.Spec.Template.Spec, metricsAddress)
}

// carry gives kvip's pod what means the same in kube-vip's: where it runs, what it is found by, and its view of names.
func (w *workload) carry(meta *metav1.ObjectMeta, spec *corev1.PodSpec, metricsAddress string) {
	spec.Affinity, spec.Tolerations = w.spec.Affinity, w.spec.Tolerations
	if spec.NodeSelector = maps.Clone(w.spec.NodeSelector); w.daemonSet {
		spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
		maps.Copy(spec.NodeSelector, w.spec.NodeSelector)
	}
	spec.HostAliases, spec.DNSConfig = slices.DeleteFunc(slices.Clone(w.spec.HostAliases), ofKubernetes), w.spec.DNSConfig
	for name, value := range w.meta.Labels {
		if w.carriesLabel(name) {
			meta.Labels[name] = value
		}
	}
	for name, value := range w.meta.Annotations {
		if carriesAnnotation(name) {
			metav1.SetMetaDataAnnotation(meta, name, value)
		}
	}
	c := &spec.Containers[0]
	for _, port := range w.spec.Containers[0].Ports {
		if carriesPort(port, metricsAddress) {
			c.Ports = slices.DeleteFunc(c.Ports, func(own corev1.ContainerPort) bool { return own.ContainerPort == port.ContainerPort })
			c.Ports = append(c.Ports, port)
		}
	}
}

// ofKubernetes reports whether an alias is the one with which kube-vip finds the API server on its own node.
func ofKubernetes(alias corev1.HostAlias) bool {
	addr, err := netip.ParseAddr(alias.IP)
	return err == nil && addr.IsLoopback() && slices.Equal(alias.Hostnames, []string{"kubernetes"})
}

// programLabels and their like tell programs and releases apart, so kvip may not have kube-vip's.
var programLabels = []string{"app", "name", "component", "k8s-app", "release", "chart", "heritage",
	"pod-template-hash", "pod-template-generation", "controller-revision-hash"}

// carriesLabel reports whether a label of the pod says the same of kvip.
func (w *workload) carriesLabel(name string) bool {
	prefix, _, _ := strings.Cut(name, "/")
	_, selects := w.selector[name]
	return !selects && !slices.Contains(programLabels, name) && !slices.Contains([]string{"app.kubernetes.io", "helm.sh"}, prefix)
}

// carriesAnnotation reports whether an annotation of the pod says the same of kvip: where its metrics are.
func carriesAnnotation(name string) bool { return strings.HasPrefix(name, "prometheus.io/") }

// carriesPort reports whether a port of the container is that of the metrics, by which a PodMonitor finds them.
func carriesPort(port corev1.ContainerPort, metricsAddress string) bool {
	if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
		return false
	}
	return strings.HasSuffix(metricsAddress, ":"+strconv.Itoa(int(port.ContainerPort)))
}
