package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/manifest"
)

// overTimeout bounds the question whether this agent ends for good.
const overTimeout = 2 * time.Second

// isOver is whether this agent ends for good: its DaemonSet is gone or going, or its node is cordoned,
// as before a drain. Otherwise it is being restarted, and its addresses stay for their lifetimes (S6).
func (s *services) isOver(ctx context.Context) bool {
	if node := s.catalogue.Node(s.cfg.NodeName); node != nil && node.Cordoned {
		s.log.Info("handing the Services' addresses over", "node", s.cfg.NodeName, "reason", "the node is cordoned")
		return true
	}
	if s.cfg.DaemonSet == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, overTimeout)
	defer cancel()
	var gone bool
	err := s.leases.Do(ctx, func(ctx context.Context, server *apiclient.Server) (err error) {
		gone, err = daemonSetGone(ctx, server, manifest.ServiceAccountNamespace, s.cfg.DaemonSet)
		return err
	})
	if err != nil {
		s.log.Warn("cannot ask for the DaemonSet; addresses stay, as at a restart", "node", s.cfg.NodeName, "reason", err)
		return false
	}
	if gone {
		s.log.Info("handing the Services' addresses over", "node", s.cfg.NodeName, "reason", "the DaemonSet "+s.cfg.DaemonSet+" is gone")
	}
	return gone
}

func daemonSetGone(ctx context.Context, server *apiclient.Server, namespace, name string) (bool, error) {
	raw, err := server.REST().Get().AbsPath("/apis/apps/v1/namespaces", namespace, "daemonsets", name).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("get DaemonSet %s/%s: %w", namespace, name, err)
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &object); err != nil {
		return false, fmt.Errorf("read DaemonSet %s/%s: %w", namespace, name, err)
	}
	return object.DeletionTimestamp != nil, nil
}
