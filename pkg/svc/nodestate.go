package svc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/printable"
)

// ErrNodeStateAbsent means that the definition of BGPNodeState is not installed, or that the right
// to write one is missing. Another attempt is of use only after a change by the administrator.
var ErrNodeStateAbsent = errors.New("no BGPNodeState can be written: apply the output of " +
	"`kvip manifest crd` and `kvip manifest rbac --services` of this version")

// Limits of a BGPNodeState besides those of its package, in characters. A text is cut after as many
// bytes.
const (
	maxPeerLength      = 253
	maxAddressLength   = 64
	maxInterfaceLength = 15
)

// NewNodeState returns the state of the node with this name without a status. If the Node is known,
// the API server deletes the state with it. node may be nil.
func NewNodeState(name string, node *Node) v1alpha1.BGPNodeState {
	state := v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if node != nil && node.UID != "" {
		state.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Node", Name: node.Name, UID: node.UID,
		}}
	}
	return state
}

// WriteNodeState applies the status of a BGPNodeState, and creates the object first if it does not
// exist. What exceeds the limits of the kind is cut. An empty SessionsUp is counted. Callers pace
// the writes.
func WriteNodeState(
	ctx context.Context, router *apiclient.Router, state v1alpha1.BGPNodeState,
) error {
	status, err := json.Marshal(nodeStateBody(map[string]any{"name": state.Name},
		boundedState(state.Status)))
	if err != nil {
		return fmt.Errorf("encode BGPNodeState %s: %w", state.Name, err)
	}
	object, err := json.Marshal(nodeStateBody(state.ObjectMeta, nil))
	if err != nil {
		return fmt.Errorf("encode BGPNodeState %s: %w", state.Name, err)
	}
	absent := false
	err = router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		err := applyNodeState(ctx, s, state.Name, status)
		if apierrors.IsNotFound(err) {
			err = s.KVIPRaw.Post().Resource(v1alpha1.BGPNodeStatePlural).Body(object).
				Param("fieldManager", FieldManager).Do(ctx).Error()
			if err == nil || apierrors.IsAlreadyExists(err) {
				err = applyNodeState(ctx, s, state.Name, status)
			}
		}
		absent = apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
		if absent { // keep the credentials
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("write BGPNodeState %s: %w", state.Name, err)
	case absent:
		return ErrNodeStateAbsent
	}
	return nil
}

// nodeStateBody returns the body of a request. A nil status is left out.
func nodeStateBody(meta, status any) map[string]any {
	body := map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.BGPNodeStateKind,
		"metadata": meta,
	}
	if status != nil {
		body["status"] = status
	}
	return body
}

// applyNodeState applies a status, and takes over fields that others have written.
func applyNodeState(ctx context.Context, s *apiclient.Server, name string, body []byte) error {
	return s.KVIPRaw.Patch(types.ApplyPatchType).Resource(v1alpha1.BGPNodeStatePlural).Name(name).
		SubResource("status").Param("fieldManager", FieldManager).Param("force", "true").Body(body).
		Do(ctx).Error()
}

// boundedState returns a copy of the status within the limits of the kind.
func boundedState(status v1alpha1.BGPNodeStateStatus) v1alpha1.BGPNodeStateStatus {
	bounded := *status.DeepCopy()
	if bounded.SessionsUp == "" {
		up := 0
		for _, one := range bounded.Sessions {
			if one.State == v1alpha1.SessionEstablished {
				up++
			}
		}
		bounded.SessionsUp = fmt.Sprintf("%d/%d", up, len(bounded.Sessions))
	}
	bounded.Sessions = first(bounded.Sessions, v1alpha1.MaxNodeSessions)
	for i := range bounded.Sessions {
		boundSession(&bounded.Sessions[i])
	}
	return bounded
}

// boundSession cuts what a router may have sent, or what an administrator may have written.
func boundSession(s *v1alpha1.BGPSession) {
	s.Peer = printable.Cut(s.Peer, maxPeerLength)
	s.Address = printable.Cut(s.Address, maxAddressLength)
	s.Interface = printable.Cut(s.Interface, maxInterfaceLength)
	s.Reason = printable.Cut(Brief(s.Reason), v1alpha1.MaxReasonLength)
	if s.Since.IsZero() { // required
		s.Since = metav1.Now()
	}
	s.Families = first(s.Families, 2)
	for i := range s.Families {
		s.Families[i].NextHop = printable.Cut(s.Families[i].NextHop, maxAddressLength)
	}
	if s.BFD != nil {
		s.BFD.Diagnostic = printable.Cut(Brief(s.BFD.Diagnostic), v1alpha1.MaxReasonLength)
	}
}
