package migrate

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/kubevip"
)

// beside is an object of the file that does not run kube-vip.
type beside struct {
	kind string
	metav1.ObjectMeta
	text []byte // as JSON
}

// fate says what becomes of the object.
func (b beside) fate() string {
	switch b.kind {
	case "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return "is left out; kvip has a ServiceAccount and rights of its own"
	case "ConfigMap":
		return b.fateOfConfigMap()
	}
	spec := b.podSpec()
	if !strings.Contains(b.Name, "cloud-provider") && !strings.Contains(b.Name, "cloud-controller") && !isCloudProvider(spec) {
		return leftOut
	}
	text := "is left out; kvip gives out addresses by itself"
	if pools := b.pools(spec); pools != kubevip.PoolsNamespace+"/"+kubevip.PoolsConfigMap {
		text += ", and " + otherPools("from the ConfigMap "+pools)
	}
	return text
}

func (b beside) fateOfConfigMap() string {
	var object corev1.ConfigMap
	_ = json.Unmarshal(b.text, &object) // what is no ConfigMap has no keys
	switch {
	case b.Name == kubevip.PoolsConfigMap && b.Namespace == kubevip.PoolsNamespace:
		return "stays as it is in the cluster; kvip reads it"
	case b.Name == kubevip.PoolsConfigMap || kubevip.HasPoolKeys(object.Data):
		return otherPools("from it")
	}
	return leftOut
}

// otherPools is said of pools that kvip does not find.
func otherPools(where string) string {
	return fmt.Sprintf("kvip takes no pools %s: it reads the ConfigMap %s in %s alone; copy them there, or write IPPools",
		where, kubevip.PoolsConfigMap, kubevip.PoolsNamespace)
}

// podSpec returns the pod that the object is or makes, as far as there is one.
func (b beside) podSpec() corev1.PodSpec {
	var pod corev1.Pod
	var maker appsv1.Deployment // StatefulSet and DaemonSet have their template at the same place
	if json.Unmarshal(b.text, &maker) == nil && len(maker.Spec.Template.Spec.Containers) > 0 {
		return maker.Spec.Template.Spec
	}
	_ = json.Unmarshal(b.text, &pod) // what is no pod has no containers
	return pod.Spec
}

// isCloudProvider reports whether a pod runs kube-vip's cloud provider.
func isCloudProvider(spec corev1.PodSpec) bool {
	for _, c := range spec.Containers {
		if strings.Contains(c.Image, "kube-vip-cloud-provider") {
			return true
		}
	}
	return false
}

// pools returns namespace and name of the ConfigMap that the cloud provider reads, with what is not known here as the
// field that says it.
func (b beside) pools(spec corev1.PodSpec) string {
	namespace, name := kubevip.PoolsNamespace, kubevip.PoolsConfigMap
	for _, c := range spec.Containers {
		for _, v := range c.Env {
			value := v.Value
			switch {
			case v.ValueFrom != nil && v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath == "metadata.namespace":
				value = b.Namespace
			case v.ValueFrom != nil:
				value = "(valueFrom)"
			}
			switch {
			case value == "":
			case v.Name == "KUBEVIP_NAMESPACE":
				namespace = value
			case v.Name == "KUBEVIP_CONFIG_MAP":
				name = value
			}
		}
	}
	return namespace + "/" + name
}
