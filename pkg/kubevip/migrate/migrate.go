// Package migrate translates a manifest that runs kube-vip into one that runs kvip. pkg/kubevip
// knows the meaning of kube-vip's settings, pkg/manifest the manifests of kvip. It applies nothing
// to a cluster.
package migrate

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/templates"
)

// Migrate returns the manifest of kvip for one of kube-vip: a static pod or a DaemonSet, which may
// be one of several documents. A note names each setting and document that is left out. An
// ambiguous input is an *config.InputError, a *kubevip.Error or a *config.UsageError. file is the
// name for messages, image that of kvip.
func Migrate(file string, text []byte, image string) ([]byte, []kubevip.Note, error) {
	work, notes, err := findWorkload(file, text)
	if err != nil {
		return nil, nil, err
	}
	flags, env, unread, err := work.settings()
	if err != nil {
		return nil, nil, err
	}
	settings, asked, err := kubevip.ParseManifest(flags, env)
	if err != nil {
		return nil, nil, work.wrap(err)
	}
	build := work.pod
	if work.account = work.usesServiceAccount(settings.Kubeconfig); work.daemonSet || work.account {
		build = work.objects
	}
	objects, own, err := build(settings, image)
	if err != nil {
		return nil, nil, work.wrap(kubevip.TranslateError(err))
	}
	var out bytes.Buffer
	if settings.Services && (work.daemonSet || work.account) {
		for _, crd := range definitions(settings) {
			out.Write(crd)
			out.WriteString("---\n")
		}
	}
	if err := manifest.Write(&out, objects...); err != nil {
		return nil, nil, err
	}
	fields := work.leftOutFields(settings.MetricsAddress)
	return out.Bytes(), slices.Concat(asked, unread, own, fields, notes), nil
}

// definitions returns the CRDs of the objects that Services need.
func definitions(s kubevip.Settings) [][]byte {
	if s.BGP != nil {
		return templates.CRDs()
	}
	return [][]byte{templates.CRD}
}

// pod returns the static pod. The agent applies its RBAC itself.
func (w *workload) pod(s kubevip.Settings, image string) ([]any, []kubevip.Note, error) {
	c := config.StaticPod()
	s.Kubeconfig = w.hostKubeconfig(s.Kubeconfig)
	s.Apply(&c)
	c.Image = image
	notes, err := setNextHopFile(&c, s.BGP)
	if err == nil && s.Services && s.BGP != nil {
		err = &kubevip.Error{Name: "svc_enable", Problem: "with BGP, Services need BGPPeers, which are " +
			"objects of the cluster and not in a static pod; set it to \"false\" here, and run kvip for " +
			"Services as a DaemonSet"}
	}
	if err != nil {
		return nil, nil, err
	}
	if s.Services {
		notes = append(notes, kubevip.Note{
			Name: "svc_enable",
			Text: "a static pod contains no CRD; apply the output of `kvip manifest crd`",
		})
	}
	pod, err := manifest.Pod(c)
	if err != nil {
		return nil, nil, err
	}
	w.copyPod(&pod.ObjectMeta, &pod.Spec, c.MetricsAddress)
	return []any{pod}, notes, nil
}

// objects returns the RBAC and a DaemonSet on the nodes of kube-vip's; or a Pod, if kube-vip was a
// Pod with a ServiceAccount.
func (w *workload) objects(s kubevip.Settings, image string) ([]any, []kubevip.Note, error) {
	c := config.DaemonSet()
	if !s.ControlPlane {
		c = config.ServicesDaemonSet()
	}
	var notes []kubevip.Note
	if s.Kubeconfig != "" {
		notes = append(notes, kubevip.Note{
			Name: "k8s_config_file", Text: "a DaemonSet uses its ServiceAccount",
		})
		w.kubeconfig, s.Kubeconfig = s.Kubeconfig, ""
	}
	s.Apply(&c)
	c.Image = image
	ofBGP, more, err := w.ofBGP(&c, s)
	if err != nil {
		return nil, nil, err
	}
	notes = append(notes, more...)
	objects, err := manifest.RBAC(c)
	if err != nil {
		return nil, nil, err
	}
	objects = append(objects, ofBGP...)
	set, err := manifest.DaemonSet(c, true)
	if err != nil {
		return nil, nil, err
	}
	w.copyDaemonSet(set, c.MetricsAddress)
	if !w.daemonSet {
		return append(objects, podOf(set)), notes, nil
	}
	return append(objects, set), notes, nil
}

// podOf returns the pod that a DaemonSet would create.
func podOf(set *appsv1.DaemonSet) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.APIVersion, pod.Kind = corev1.SchemeGroupVersion.String(), "Pod"
	pod.Name, pod.Namespace = set.Name, set.Namespace
	c := &pod.Spec.Containers[0]
	// The pod belongs to no DaemonSet.
	c.Args = slices.DeleteFunc(c.Args, func(arg string) bool {
		return strings.HasPrefix(arg,
			"--daemonset=")
	})
	return pod
}

// copyDaemonSet copies the update strategy of kube-vip's DaemonSet, and what copyPod copies.
func (w *workload) copyDaemonSet(set *appsv1.DaemonSet, metricsAddress string) {
	if w.set.UpdateStrategy.Type != "" {
		set.Spec.UpdateStrategy = w.set.UpdateStrategy
	}
	set.Spec.MinReadySeconds = w.set.MinReadySeconds
	set.Spec.RevisionHistoryLimit = w.set.RevisionHistoryLimit
	w.copyPod(&set.Spec.Template.ObjectMeta, &set.Spec.Template.Spec, metricsAddress)
}

// copyPod copies what has the same meaning in both pods: scheduling, labels, ports and name
// resolution.
func (w *workload) copyPod(meta *metav1.ObjectMeta, spec *corev1.PodSpec, metricsAddress string) {
	spec.Affinity, spec.Tolerations = w.spec.Affinity, w.spec.Tolerations
	if spec.NodeSelector = maps.Clone(w.spec.NodeSelector); w.daemonSet {
		spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
		maps.Copy(spec.NodeSelector, w.spec.NodeSelector)
	}
	spec.HostAliases = slices.DeleteFunc(slices.Clone(w.spec.HostAliases), isAPIServerAlias)
	spec.DNSConfig = w.spec.DNSConfig
	for name, value := range w.meta.Labels {
		if w.copiesLabel(name) {
			meta.Labels[name] = value
		}
	}
	for name, value := range w.meta.Annotations {
		if copiesAnnotation(name) {
			metav1.SetMetaDataAnnotation(meta, name, value)
		}
	}
	c := &spec.Containers[0]
	for _, port := range w.spec.Containers[0].Ports {
		if copiesPort(port, metricsAddress) {
			c.Ports = slices.DeleteFunc(
				c.Ports,
				func(own corev1.ContainerPort) bool { return own.ContainerPort == port.ContainerPort },
			)
			c.Ports = append(c.Ports, port)
		}
	}
}

// isAPIServerAlias reports whether an alias is the one by which kube-vip connects to the API
// server of its node.
func isAPIServerAlias(alias corev1.HostAlias) bool {
	addr, err := netip.ParseAddr(alias.IP)
	return err == nil && addr.IsLoopback() && slices.Equal(alias.Hostnames, []string{"kubernetes"})
}

// programLabels identify a program or release, so kvip must not have kube-vip's.
var programLabels = []string{"app", "name", "component", "k8s-app", "release", "chart", "heritage",
	"pod-template-hash", "pod-template-generation", "controller-revision-hash"}

// copiesLabel reports whether a label of the pod has the same meaning for kvip.
func (w *workload) copiesLabel(name string) bool {
	prefix, _, _ := strings.Cut(name, "/")
	_, selects := w.selector[name]
	return !selects && !slices.Contains(programLabels, name) &&
		!slices.Contains([]string{"app.kubernetes.io",
			"helm.sh"}, prefix)
}

// copiesAnnotation reports whether an annotation of the pod has the same meaning for kvip: the
// place of its metrics.
func copiesAnnotation(name string) bool { return strings.HasPrefix(name, "prometheus.io/") }

// copiesPort reports whether a port of the container is that of the metrics, for a PodMonitor.
func copiesPort(port corev1.ContainerPort, metricsAddress string) bool {
	if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
		return false
	}
	return strings.HasSuffix(metricsAddress, ":"+strconv.Itoa(int(port.ContainerPort)))
}
