package allocator

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
)

// behind is whether the ledger, as it was just taken over, has a Service that exists and that this node
// has not seen yet: the former allocator knew more. Without this question its address would be given
// away. Within a term it is not needed: what this node has written it has also seen.
func (a *Allocator) behind(ctx context.Context) bool {
	known := map[ipam.Owner]bool{}
	for _, s := range a.cfg.Cache.Services() {
		known[s.Owner()] = true
	}
	for _, holders := range a.cfg.Store.Ledger() {
		for _, h := range holders {
			if h.Owner != ipam.ControlPlane && !known[h.Owner] && a.exists(ctx, h.Owner) {
				a.cfg.Log.Info("a Service of the ledger is not seen yet; waiting", "service", h.Owner)
				return true
			}
		}
	}
	return false
}

// exists asks the API server, of names that a Service can have; what cannot be asked counts as there.
func (a *Allocator) exists(ctx context.Context, owner ipam.Owner) bool {
	namespace, name, ok := strings.Cut(string(owner), "/")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Label(name)) > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	failed := a.cfg.failed()
	err := failed.do(ctx, a.cfg.Router, "get", "services", func(ctx context.Context, s *apiclient.Server) error {
		_, err := s.Core.Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // an answer to the question
			return err
		}
		return failed.of("get", "services", err)
	})
	return !apierrors.IsNotFound(err)
}
