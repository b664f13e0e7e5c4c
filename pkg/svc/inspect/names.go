package inspect

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

// maxNames bounds how many Services Names looks at.
const maxNames = 500

// ServiceNames returns the Services that kvip serves, as NAMESPACE/NAME in the API's order. It is for people
// who type a name: of more Services of type LoadBalancer than maxNames the rest is left out.
func ServiceNames(ctx context.Context, cfg Config) (all []string, err error) {
	err = cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		options := metav1.ListOptions{FieldSelector: "spec.type=LoadBalancer", Limit: maxNames}
		list, err := s.Core.Services(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return fmt.Errorf("list services: %w", err)
		}
		all = nil
		for i := range list.Items {
			if one := cfg.Reader.Service(&list.Items[i]); one.Managed {
				all = append(all, string(one.Owner()))
			}
		}
		return nil
	})
	return all, err
}
