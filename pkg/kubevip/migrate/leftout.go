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

// leftOut is the text for a field without rule: Migrate copies or names each field of the manifest.
const leftOut = "is left out"

// rule returns what is lost of a field's value. Empty: nothing, because it is copied or is the
// default.
type rule func(w *workload, value any) string

// noLoss is the rule for fields that Migrate uses, that kvip's manifest replaces, or that a server
// sets.
func noLoss(*workload, any) string { return "" }

// droppedUnless returns the rule for a field with one value in kvip's pod.
func droppedUnless(same any, text string) rule {
	return func(_ *workload, value any) string {
		if value == same {
			return ""
		}
		return text
	}
}

// alwaysDropped returns the rule for a field with another value in kvip's pod.
func alwaysDropped(text string) rule { return func(*workload, any) string { return text } }

const (
	podMeta   = "pod.metadata."
	podSpec   = "pod.spec."
	container = podSpec + "containers[0]."
	security  = container + "securityContext."
)

// rules are those for a Pod, or the template of a DaemonSet, and for the DaemonSet itself.
var rules = map[string]rule{
	"apiVersion": noLoss, "kind": noLoss, "status": noLoss,
	"spec.selector": noLoss, "spec.updateStrategy": noLoss, "spec.minReadySeconds": noLoss,
	"spec.revisionHistoryLimit": noLoss,

	podSpec + "nodeSelector": noLoss, podSpec + "affinity": noLoss, podSpec + "tolerations": noLoss,
	podSpec + "hostAliases": noLoss, podSpec + "dnsConfig": noLoss,
	podSpec + "hostNetwork":        noLoss,
	podSpec + "restartPolicy":      droppedUnless("Always", "kvip is always restarted"),
	podSpec + "dnsPolicy":          (*workload).dnsPolicyRule,
	podSpec + "serviceAccountName": (*workload).accountRule, podSpec + "serviceAccount": noLoss,
	podSpec + "automountServiceAccountToken": noLoss,
	podSpec + "priorityClassName": droppedUnless("system-node-critical",
		"kvip has system-node-critical"),
	podSpec + "priority":           noLoss,
	podSpec + "preemptionPolicy":   droppedUnless("PreemptLowerPriority", leftOut),
	podSpec + "schedulerName":      droppedUnless("default-scheduler", leftOut),
	podSpec + "enableServiceLinks": noLoss,
	podSpec + "terminationGracePeriodSeconds": droppedUnless(float64(30),
		"kvip has the time that its shutdown needs"),
	podSpec + "imagePullSecrets": alwaysDropped(
		"is left out; add it if the image of kvip needs it"),
	podSpec + "volumes": noLoss, // those that are mounted are named with their mount
	podSpec + "securityContext.seccompProfile.type": droppedUnless("RuntimeDefault",
		"kvip has RuntimeDefault"),

	container + "name": noLoss, container + "image": noLoss,
	container + "command": noLoss, container + "args": noLoss,
	container + "env": noLoss, container + "volumeMounts": noLoss, // each is noted
	container + "imagePullPolicy": droppedUnless("IfNotPresent", "kvip has IfNotPresent"),
	container + "ports":           noLoss,
	container + "resources":       alwaysDropped("kvip has requests and limits of its own"),
	container + "startupProbe":    alwaysDropped("kvip has probes of its own"),
	container + "livenessProbe":   alwaysDropped("kvip has probes of its own"),
	container + "readinessProbe":  alwaysDropped("kvip has probes of its own"),
	container + "terminationMessagePath": droppedUnless(
		corev1.TerminationMessagePathDefault, leftOut),
	container + "terminationMessagePolicy": droppedUnless("File", leftOut),
	security + "capabilities.add":          (*workload).capabilitiesRule,
	security + "capabilities.drop":         noLoss,
	security + "privileged": alwaysDropped(
		"is left out; kvip needs NET_ADMIN and NET_RAW only"),
	security + "allowPrivilegeEscalation": alwaysDropped("kvip gains no privileges"),
	security + "readOnlyRootFilesystem":   noLoss,
	security + "seccompProfile.type":      droppedUnless("RuntimeDefault", "kvip has RuntimeDefault"),
	security + "runAsUser": droppedUnless(float64(0),
		"kvip runs as root, because it needs the capabilities"),
	security + "runAsGroup": droppedUnless(float64(0),
		"kvip runs as root, because it needs the capabilities"),
	security + "runAsNonRoot": alwaysDropped(
		"kvip runs as root, because it needs the capabilities"),
}

func init() {
	for _, meta := range []string{podMeta, "metadata."} {
		for _, name := range []string{"name", "generateName", "uid", "resourceVersion", "generation",
			"creationTimestamp", "managedFields", "selfLink", "ownerReferences"} {
			rules[meta+name] = noLoss
		}
		rules[meta+"namespace"] = droppedUnless(manifest.ServiceAccountNamespace,
			"kvip runs in "+manifest.ServiceAccountNamespace)
		rules[meta+"annotations"] = (*workload).annotationsRule
	}
	rules[podMeta+"labels"] = (*workload).labelsRule
	rules["metadata.labels"] = func(_ *workload, value any) string {
		return namesAnd(value, nil, leftOut)
	}
}

// leftOutFields returns notes about the fields that kvip's workload does not have.
func (w *workload) leftOutFields(metricsAddress string) []kubevip.Note {
	w.dropped = nil
	if w.daemonSet {
		w.walk("", "", w.object)
	} else {
		w.walk("", "pod", w.object)
	}
	c := w.spec.Containers[0]
	for i, mount := range c.VolumeMounts {
		usual := mount.MountPath == "/etc/hosts" ||
			slices.Contains(config.AdminKubeconfigs(), mount.MountPath) ||
			mount.MountPath == w.kubeconfig
		if !usual {
			w.drop(fmt.Sprintf("%scontainers[0].volumeMounts[%d]", w.path, i), leftOut)
		}
	}
	for i, port := range c.Ports {
		if !copiesPort(port, metricsAddress) {
			w.drop(fmt.Sprintf("%scontainers[0].ports[%d]", w.path, i),
				"is left out; it is not the port of the metrics")
		}
	}
	return w.dropped
}

func (w *workload) drop(field, text string) {
	w.dropped = append(w.dropped, kubevip.Note{Name: w.field(field), Text: text})
}

// walk visits a value of the manifest. rulePath is the field's name in rules, which has one name
// for the pod and for the template of a DaemonSet.
func (w *workload) walk(field, rulePath string, value any) {
	switch {
	case w.daemonSet && field == "spec.template":
		rulePath = "pod"
	case !w.daemonSet && (field == "apiVersion" || field == "kind" || field == "status"):
		rulePath = field
	}
	if loss, known := rules[rulePath]; known {
		if text := loss(w, value); text != "" && !isEmpty(value) {
			w.drop(field, text)
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
		w.drop(field, leftOut)
	}
}

func fieldsOf(value any) map[string]any {
	fields, _ := value.(map[string]any)
	return fields
}

func joined(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// hasRules reports whether there are rules for fields of a field.
func hasRules(rulePath string) bool {
	for name := range rules {
		if rulePath == "" || strings.HasPrefix(name, rulePath+".") || strings.HasPrefix(name, rulePath+
			"[") {
			return true
		}
	}
	return false
}

// isEmpty reports whether a value is the zero value.
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

// namesAnd returns the keys of a map for which keep is false, followed by a text, or "" if there
// are none.
func namesAnd(value any, keep func(string) bool, text string) string {
	names := slices.Sorted(maps.Keys(fieldsOf(value)))
	if keep != nil {
		names = slices.DeleteFunc(names, keep)
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + " " + text
}

func (w *workload) labelsRule(value any) string {
	return namesAnd(value, w.copiesLabel,
		"is left out; kvip's pods have app.kubernetes.io/name: kvip, so change selectors that use it")
}

// toolAnnotations are annotations of the kubelet, controllers and kubectl for their own use.
var toolAnnotations = []string{"kubectl.kubernetes.io/", "kubernetes.io/config.",
	"deprecated.daemonset.template.generation"}

func (w *workload) annotationsRule(value any) string {
	return namesAnd(value, func(name string) bool {
		return copiesAnnotation(name) ||
			slices.ContainsFunc(
				toolAnnotations,
				func(tool string) bool { return strings.HasPrefix(name, tool) },
			)
	}, leftOut)
}

func (w *workload) dnsPolicyRule(value any) string {
	if value == "Default" ||
		value == "ClusterFirst" { // which is Default for a pod in the host's network
		return ""
	}
	return "kvip resolves names as its node does"
}

func (w *workload) accountRule(value any) string {
	switch {
	case w.daemonSet || value == "default":
		return ""
	case w.account:
		return "is replaced by kvip, whose RBAC precedes the pod; create the pod by the API server, " +
			"because the kubelet gives a static pod no token"
	}
	return "is left out; a static pod has none and uses a kubeconfig"
}

func (w *workload) capabilitiesRule(value any) string {
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
	return strings.Join(more, ", ") + " is left out; kvip needs NET_ADMIN and NET_RAW only"
}
