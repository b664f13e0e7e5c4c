package svc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/kvip/kvip/pkg/apiclient"
)

// daemonSet has the fields of a DaemonSet that DaemonSetStopped reads.
type daemonSet struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Template struct {
			Spec struct {
				NodeSelector map[string]string `json:"nodeSelector"`
				Affinity     *corev1.Affinity  `json:"affinity"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

// DaemonSetStopped returns why a DaemonSet runs no pod on the node any more, as a phrase that
// follows its name. It returns "" if it does, and for a nil node unless the DaemonSet is gone or
// being deleted.
func DaemonSetStopped(ctx context.Context, server *apiclient.Server, namespace, name string,
	node *Node) (string, error) {
	raw, err := server.REST().Get().
		AbsPath("/apis/apps/v1/namespaces", namespace, "daemonsets", name).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return "is gone", nil
	}
	if err != nil {
		return "", fmt.Errorf("get DaemonSet %s/%s: %w", namespace, name, err)
	}
	var object daemonSet
	if err := json.Unmarshal(raw, &object); err != nil {
		return "", fmt.Errorf("decode DaemonSet %s/%s: %w", namespace, name, err)
	}
	switch {
	case object.Metadata.DeletionTimestamp != nil:
		return "is being deleted", nil
	case node != nil && !object.selects(node):
		return "does not select this node any more", nil
	}
	return "", nil
}

// selects reports whether pods of the DaemonSet may run on the node, by its selector and its
// required affinity (Kubernetes documentation, "Assigning Pods to Nodes"). A requirement that
// cannot be parsed excludes no node.
func (d *daemonSet) selects(node *Node) bool {
	spec := d.Spec.Template.Spec
	if !labels.SelectorFromSet(spec.NodeSelector).Matches(labels.Set(node.Labels)) {
		return false
	}
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return true
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return true
	}
	fields := labels.Set{metav1.ObjectNameField: node.Name}
	return slices.ContainsFunc(required.NodeSelectorTerms, func(t corev1.NodeSelectorTerm) bool {
		return len(t.MatchExpressions)+len(t.MatchFields) > 0 &&
			matches(t.MatchExpressions, labels.Set(node.Labels)) && matches(t.MatchFields, fields)
	})
}

// selectorOperators maps the operators of a node selector to those of label selectors.
var selectorOperators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn:           selection.In,
	corev1.NodeSelectorOpNotIn:        selection.NotIn,
	corev1.NodeSelectorOpExists:       selection.Exists,
	corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt:           selection.GreaterThan,
	corev1.NodeSelectorOpLt:           selection.LessThan,
}

// matches reports whether a set of labels or fields meets all requirements.
func matches(requirements []corev1.NodeSelectorRequirement, set labels.Set) bool {
	return !slices.ContainsFunc(requirements, func(r corev1.NodeSelectorRequirement) bool {
		one, err := labels.NewRequirement(r.Key, selectorOperators[r.Operator], r.Values)
		return err == nil && !one.Matches(set)
	})
}
