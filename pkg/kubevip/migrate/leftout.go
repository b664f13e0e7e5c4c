package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/manifest"
)

// leftOut is what is said of a field that no rule knows: each field of the manifest is carried over or named.
const leftOut = "is left out"

// rule says what is lost of a field's value. Empty: nothing, as it is carried over or the same without being said.
type rule func(w *workload, value any) string

// nothing is the rule for what Migrate uses, what kvip's own manifest has another way, and what a server fills in.
func nothing(*workload, any) string { return "" }

// unless returns the rule for a field that kvip's pod has one value for.
func unless(same any, text string) rule {
	return func(_ *workload, value any) string {
		if value == same {
			return ""
		}
		return text
	}
}

// always returns the rule for a field that kvip's pod has its own value for.
func always(text string) rule { return func(*workload, any) string { return text } }

const (
	podMeta   = "pod.metadata."
	podSpec   = "pod.spec."
	container = podSpec + "containers[0]."
	security  = container + "securityContext."
)

// rules are those for a Pod, or the template of a DaemonSet, and for the DaemonSet around it.
var rules = map[string]rule{
	"apiVersion": nothing, "kind": nothing, "status": nothing,
	"spec.selector": nothing, "spec.updateStrategy": nothing, "spec.minReadySeconds": nothing, "spec.revisionHistoryLimit": nothing,

	podSpec + "nodeSelector": nothing, podSpec + "affinity": nothing, podSpec + "tolerations": nothing,
	podSpec + "hostAliases": nothing, podSpec + "dnsConfig": nothing,
	podSpec + "hostNetwork":        nothing,
	podSpec + "restartPolicy":      unless("Always", "kvip is always restarted"),
	podSpec + "dnsPolicy":          (*workload).lostDNSPolicy,
	podSpec + "serviceAccountName": (*workload).lostAccount, podSpec + "serviceAccount": nothing,
	podSpec + "automountServiceAccountToken":        nothing,
	podSpec + "priorityClassName":                   unless("system-node-critical", "kvip has system-node-critical"),
	podSpec + "priority":                            nothing,
	podSpec + "preemptionPolicy":                    unless("PreemptLowerPriority", leftOut),
	podSpec + "schedulerName":                       unless("default-scheduler", leftOut),
	podSpec + "enableServiceLinks":                  nothing,
	podSpec + "terminationGracePeriodSeconds":       unless(float64(30), "kvip has the time that an orderly leave takes"),
	podSpec + "imagePullSecrets":                    always("is left out; add it if the image of kvip needs it"),
	podSpec + "volumes":                             nothing, // what is mounted is named with its mount
	podSpec + "securityContext.seccompProfile.type": unless("RuntimeDefault", "kvip has RuntimeDefault"),

	container + "name": nothing, container + "image": nothing, container + "command": nothing, container + "args": nothing,
	container + "env": nothing, container + "volumeMounts": nothing, // named one by one
	container + "imagePullPolicy":          unless("IfNotPresent", "kvip has IfNotPresent"),
	container + "ports":                    nothing,
	container + "resources":                always("kvip has requests and limits of its own"),
	container + "startupProbe":             always("kvip has probes of its own"),
	container + "livenessProbe":            always("kvip has probes of its own"),
	container + "readinessProbe":           always("kvip has probes of its own"),
	container + "terminationMessagePath":   unless(corev1.TerminationMessagePathDefault, leftOut),
	container + "terminationMessagePolicy": unless("File", leftOut),
	security + "capabilities.add":          (*workload).lostCapabilities, security + "capabilities.drop": nothing,
	security + "privileged":               always("is left out; kvip needs NET_ADMIN and NET_RAW alone"),
	security + "allowPrivilegeEscalation": always("kvip gains no privileges"),
	security + "readOnlyRootFilesystem":   nothing,
	security + "seccompProfile.type":      unless("RuntimeDefault", "kvip has RuntimeDefault"),
	security + "runAsUser":                unless(float64(0), "kvip is root, as the capabilities need it"),
	security + "runAsGroup":               unless(float64(0), "kvip is root, as the capabilities need it"),
	security + "runAsNonRoot":             always("kvip is root, as the capabilities need it"),
}

func init() {
	for _, meta := range []string{podMeta, "metadata."} {
		for _, name := range []string{"name", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "ownerReferences"} {
			rules[meta+name] = nothing
		}
		rules[meta+"namespace"] = unless(manifest.ServiceAccountNamespace, "kvip runs in "+manifest.ServiceAccountNamespace)
		rules[meta+"annotations"] = (*workload).lostAnnotations
	}
	rules[podMeta+"labels"] = (*workload).lostLabels
	rules["metadata.labels"] = func(_ *workload, value any) string { return named(value, nil, leftOut) }
}

// leftOut names what of the workload has no place in kvip's.
func (w *workload) leftOut(metricsAddress string) []kubevip.Note {
	w.lost = nil
	if w.daemonSet {
		w.walk("", "", w.object)
	} else {
		w.walk("", "pod", w.object)
	}
	c := w.spec.Containers[0]
	for i, mount := range c.VolumeMounts {
		usual := mount.MountPath == "/etc/hosts" || slices.Contains(config.AdminKubeconfigs(), mount.MountPath) || mount.MountPath == w.kubeconfig
		if !usual {
			w.lose(fmt.Sprintf("%scontainers[0].volumeMounts[%d]", w.path, i), leftOut)
		}
	}
	for i, port := range c.Ports {
		if !carriesPort(port, metricsAddress) {
			w.lose(fmt.Sprintf("%scontainers[0].ports[%d]", w.path, i), "is left out; it is not that of the metrics")
		}
	}
	return w.lost
}

func (w *workload) lose(field, text string) {
	w.lost = append(w.lost, kubevip.Note{Name: w.field(field), Text: text})
}

// walk goes through a value of the manifest. rulePath is the field's name in rules, where the pod and the template of
// a DaemonSet have the same names.
func (w *workload) walk(field, rulePath string, value any) {
	switch {
	case w.daemonSet && field == "spec.template":
		rulePath = "pod"
	case !w.daemonSet && (field == "apiVersion" || field == "kind" || field == "status"):
		rulePath = field
	}
	if says, known := rules[rulePath]; known {
		if text := says(w, value); text != "" && !isEmpty(value) {
			w.lose(field, text)
		}
		return
	}
	parts, list := value.([]any)
	fields := fieldsOf(value)
	switch {
	case isEmpty(value):
	case list && rulePath+"[0]." == container:
		w.walk(field+"[0]", rulePath+"[0]", parts[0])
	case fields != nil && hasRules(rulePath):
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			w.walk(joined(field, name), joined(rulePath, name), fields[name])
		}
	default:
		w.lose(field, leftOut)
	}
}

func fieldsOf(value any) map[string]any {
	fields, _ := value.(map[string]any)
	return fields
}

func joined(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// hasRules reports whether there are rules for fields below one.
func hasRules(rulePath string) bool {
	for name := range rules {
		if rulePath == "" || strings.HasPrefix(name, rulePath+".") || strings.HasPrefix(name, rulePath+"[") {
			return true
		}
	}
	return false
}

// isEmpty reports whether a value asks for nothing.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, child := range v {
			if !isEmpty(child) {
				return false
			}
		}
		return true
	}
	return false
}

// named lists the keys of a map for which keep is false, with a text behind; nothing if there are none.
func named(value any, keep func(string) bool, text string) string {
	names := slices.Sorted(maps.Keys(fieldsOf(value)))
	if keep != nil {
		names = slices.DeleteFunc(names, keep)
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + " " + text
}

func (w *workload) lostLabels(value any) string {
	return named(value, w.carriesLabel, "is left out; kvip's pods have app.kubernetes.io/name: kvip, so change what selects by it")
}

// ofTools are the annotations by which the kubelet, controllers and kubectl remember what they did.
var ofTools = []string{"kubectl.kubernetes.io/", "kubernetes.io/config.", "deprecated.daemonset.template.generation"}

func (w *workload) lostAnnotations(value any) string {
	return named(value, func(name string) bool {
		return carriesAnnotation(name) || slices.ContainsFunc(ofTools, func(tool string) bool { return strings.HasPrefix(name, tool) })
	}, leftOut)
}

func (w *workload) lostDNSPolicy(value any) string {
	if value == "Default" || value == "ClusterFirst" { // which is Default for a pod in the node's network
		return ""
	}
	return "kvip resolves names as its node does"
}

func (w *workload) lostAccount(value any) string {
	switch {
	case w.daemonSet || value == "default":
		return ""
	case w.account:
		return "is kvip in its place, whose rights stand before the pod; an API server must make it, for the kubelet gives a static pod no token"
	}
	return "is left out; a static pod has none, and uses a kubeconfig"
}

func (w *workload) lostCapabilities(value any) string {
	var more []string
	list, _ := value.([]any)
	for _, name := range list {
		if name != "NET_ADMIN" && name != "NET_RAW" {
			more = append(more, fmt.Sprint(name))
		}
	}
	if len(more) == 0 {
		return ""
	}
	return strings.Join(more, ", ") + " is left out; kvip needs NET_ADMIN and NET_RAW alone"
}
