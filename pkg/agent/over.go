package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/pkg/svc"
)

// overTimeout bounds the question whether this agent ends for good.
const overTimeout = 2 * time.Second

// isOver reports whether this agent ends for good: its DaemonSet is gone or going, or has no place for its node any
// more, or its node is cordoned, as before a drain, and the other nodes have all its addresses. Otherwise it is being
// restarted, and its addresses stay for their lifetimes (S6).
func (s *services) isOver(ctx context.Context) bool {
	node := s.catalogue.Node(s.cfg.NodeName)
	if node != nil && node.Cordoned && s.serve.HandOver(ctx) {
		s.log.Info("handing the Services' addresses over", "node", s.cfg.NodeName, "reason", "the node is cordoned")
		return true
	}
	if s.cfg.DaemonSet == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, overTimeout)
	defer cancel()
	var why string
	err := s.leases.Do(ctx, func(ctx context.Context, server *apiclient.Server) (err error) {
		why, err = daemonSetGone(ctx, server, manifest.ServiceAccountNamespace, s.cfg.DaemonSet, node)
		return err
	})
	if err != nil {
		s.log.Warn("cannot ask for the DaemonSet; addresses stay, as at a restart", "node", s.cfg.NodeName, "reason", err)
		return false
	}
	if why != "" {
		s.log.Info("handing the Services' addresses over", "node", s.cfg.NodeName, "reason", "the DaemonSet "+s.cfg.DaemonSet+" "+why)
	}
	return why != ""
}

// daemonSetObject is what is read of a DaemonSet.
type daemonSetObject struct {
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

// daemonSetGone says why a DaemonSet has no pod on the node any more, "" if it has one. Of a node that is not known
// it has.
func daemonSetGone(ctx context.Context, server *apiclient.Server, namespace, name string, node *svc.Node) (string, error) {
	raw, err := server.REST().Get().AbsPath("/apis/apps/v1/namespaces", namespace, "daemonsets", name).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return "is gone", nil
	}
	if err != nil {
		return "", fmt.Errorf("get DaemonSet %s/%s: %w", namespace, name, err)
	}
	var object daemonSetObject
	if err := json.Unmarshal(raw, &object); err != nil {
		return "", fmt.Errorf("read DaemonSet %s/%s: %w", namespace, name, err)
	}
	switch {
	case object.Metadata.DeletionTimestamp != nil:
		return "is being deleted", nil
	case node != nil && !object.selects(node):
		return "has no place for this node any more", nil
	}
	return "", nil
}

// selects reports whether pods of the DaemonSet may be on the node, by its selector and its required affinity
// (Kubernetes documentation, "Assigning Pods to Nodes"). A rule that cannot be read refuses no node.
func (d *daemonSetObject) selects(node *svc.Node) bool {
	spec := d.Spec.Template.Spec
	if !labels.SelectorFromSet(spec.NodeSelector).Matches(labels.Set(node.Labels)) {
		return false
	}
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	terms := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool {
		return len(t.MatchExpressions)+len(t.MatchFields) > 0 && match(t.MatchExpressions, labels.Set(node.Labels)) &&
			match(t.MatchFields, labels.Set{metav1.ObjectNameField: node.Name})
	})
}

// operators are those of a node selector, as those of label selectors.
var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn, corev1.NodeSelectorOpExists: selection.Exists,
	corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist, corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

// match reports whether all requirements hold for a set of labels or fields.
func match(requirements []corev1.NodeSelectorRequirement, set labels.Set) bool {
	return !slices.ContainsFunc(requirements, func(r corev1.NodeSelectorRequirement) bool {
		one, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
		return err == nil && !one.Matches(set)
	})
}
