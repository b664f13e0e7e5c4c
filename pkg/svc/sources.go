package svc

import (
	"context"
	"fmt"
	"reflect"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/kubevip"
)

// resource names what is read: objects of one type, in one namespace or in all, narrowed down by options.
type resource struct {
	group           func(*apiclient.Server) rest.Interface
	name, namespace string
	narrow          func(*metav1.ListOptions)
	path            string // instead of all that, for a type of another group
}

// from makes a source of a resource. empty returns a new list.
func from(kind string, example runtime.Object, empty func() runtime.Object, r resource) source {
	return source{
		kind: kind, resource: r.name, example: example,
		list: func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (runtime.Object, error) {
			list := empty()
			return list, r.request(s, o).Do(ctx).Into(list)
		},
		watch: func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := r.request(s, o).Watch(ctx)
			if err == nil && reflect.TypeOf(w) == noAnswer {
				return nil, fmt.Errorf("watch %s: API server %s does not answer, or ended the connection", kind, s.Host)
			}
			return w, err
		},
	}
}

// noAnswer is the type of the watch that client-go gives, without an error, where a server did not answer in time or
// ended the connection: taken for a watch, it would be begun again at that server for ever.
var noAnswer = reflect.TypeOf(watch.NewEmptyWatch())

// optionsVersion is that of list options, for every group (Kubernetes API conventions).
var optionsVersion = schema.GroupVersion{Version: "v1"}

// request asks one server once: to try again, and where, is the router's business.
func (r resource) request(s *apiclient.Server, o metav1.ListOptions) *rest.Request {
	if r.narrow != nil {
		r.narrow(&o)
	}
	if r.path != "" {
		return s.REST().Get().AbsPath(r.path).SpecificallyVersionedParams(&o, scheme.ParameterCodec, optionsVersion).MaxRetries(0)
	}
	return r.group(s).Get().NamespaceIfScoped(r.namespace, r.namespace != "").Resource(r.name).
		SpecificallyVersionedParams(&o, scheme.ParameterCodec, optionsVersion).MaxRetries(0)
}

// optionally makes a source of what kvip works without.
func optionally(s source) source {
	s.optional = true
	return s
}

func named(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
}

func core(s *apiclient.Server) rest.Interface         { return s.Core.RESTClient() }
func discovery(s *apiclient.Server) rest.Interface    { return s.Discovery.RESTClient() }
func coordination(s *apiclient.Server) rest.Interface { return s.Coordination.RESTClient() }
func own(s *apiclient.Server) rest.Interface          { return s.KVIP }

var (
	servicesSource = from("services", &corev1.Service{}, func() runtime.Object { return &corev1.ServiceList{} }, resource{group: core, name: "services"})
	nodesSource    = from("nodes", &corev1.Node{}, func() runtime.Object { return &corev1.NodeList{} }, resource{group: core, name: "nodes"})
	slicesSource   = from("endpointslices", &discoveryv1.EndpointSlice{}, func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		resource{group: discovery, name: "endpointslices"})
	legacySource = optionally(from("configmap "+kubevip.PoolsNamespace+"/"+kubevip.PoolsConfigMap, &corev1.ConfigMap{}, func() runtime.Object { return &corev1.ConfigMapList{} },
		resource{group: core, name: "configmaps", namespace: kubevip.PoolsNamespace, narrow: named(kubevip.PoolsConfigMap)}))
	poolsSource = optionally(from("ippools", &v1alpha1.IPPool{}, func() runtime.Object { return &v1alpha1.IPPoolList{} }, resource{group: own, name: v1alpha1.Plural}))
)

// serviceCIDRsSource reads the networks of the cluster's Services (Kubernetes 1.33).
var serviceCIDRsSource = optionally(from("servicecidrs", &networkingv1.ServiceCIDR{}, func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
	resource{path: "/apis/networking.k8s.io/v1/servicecidrs"}))

func leaseList() runtime.Object { return &coordinationv1.LeaseList{} }

// leasesSource reads the Leases of nodes and of the ledger.
func leasesSource(namespace string) source {
	return from("leases", &coordinationv1.Lease{}, leaseList,
		resource{group: coordination, name: "leases", namespace: namespace, narrow: func(o *metav1.ListOptions) { o.LabelSelector = LabelRole }})
}

// seatSource reads one Lease by name: another program may have made it, without a label.
func seatSource(namespace, name string) source {
	return from("lease "+namespace+"/"+name, &coordinationv1.Lease{}, leaseList,
		resource{group: coordination, name: "leases", namespace: namespace, narrow: named(name)})
}
