package svc

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/kubevip"
)

// lister is what the typed clients of one kind have in common.
type lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// from makes a source of a typed client, with options that narrow it down.
func from[L runtime.Object](kind string, example runtime.Object, client func(*apiclient.Server) lister[L], narrow func(*metav1.ListOptions)) source {
	return source{
		kind: kind, example: example,
		list: func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			return client(s).List(ctx, o)
		},
		watch: func(ctx context.Context, s *apiclient.Server, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			return client(s).Watch(ctx, o)
		},
	}
}

// optionally makes a source of what kvip works without.
func optionally(s source) source {
	s.optional = true
	return s
}

func everything(*metav1.ListOptions) {}

func named(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
}

var (
	servicesSource = from("services", &corev1.Service{},
		func(s *apiclient.Server) lister[*corev1.ServiceList] { return s.Core.Services("") }, everything)
	nodesSource = from("nodes", &corev1.Node{},
		func(s *apiclient.Server) lister[*corev1.NodeList] { return s.Core.Nodes() }, everything)
	slicesSource = from("endpointslices", &discoveryv1.EndpointSlice{},
		func(s *apiclient.Server) lister[*discoveryv1.EndpointSliceList] {
			return s.Discovery.EndpointSlices("")
		}, everything)
	legacySource = optionally(from("configmap "+kubevip.PoolsNamespace+"/"+kubevip.PoolsConfigMap, &corev1.ConfigMap{},
		func(s *apiclient.Server) lister[*corev1.ConfigMapList] {
			return s.Core.ConfigMaps(kubevip.PoolsNamespace)
		}, named(kubevip.PoolsConfigMap)))
)

// leasesSource reads the Leases of nodes and of the ledger.
func leasesSource(namespace string) source {
	return from("leases", &coordinationv1.Lease{},
		func(s *apiclient.Server) lister[*coordinationv1.LeaseList] { return s.Coordination.Leases(namespace) },
		func(o *metav1.ListOptions) { o.LabelSelector = LabelRole })
}

// seatSource reads one Lease by name: another program may have made it, without a label.
func seatSource(namespace, name string) source {
	return from("lease "+namespace+"/"+name, &coordinationv1.Lease{},
		func(s *apiclient.Server) lister[*coordinationv1.LeaseList] { return s.Coordination.Leases(namespace) }, named(name))
}

var poolsSource = optionally(from("ippools", &v1alpha1.IPPool{},
	func(s *apiclient.Server) lister[*v1alpha1.IPPoolList] { return pools{s} }, everything))

// optionsVersion is that of list options, for every group (Kubernetes API conventions).
var optionsVersion = schema.GroupVersion{Version: "v1"}

// pools is a client of IPPools.
type pools struct{ server *apiclient.Server }

// List implements lister.
func (p pools) List(ctx context.Context, o metav1.ListOptions) (*v1alpha1.IPPoolList, error) {
	list := &v1alpha1.IPPoolList{}
	err := p.server.KVIP.Get().Resource(v1alpha1.Plural).SpecificallyVersionedParams(&o, scheme.ParameterCodec, optionsVersion).Do(ctx).Into(list)
	return list, err
}

// Watch implements lister.
func (p pools) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return p.server.KVIP.Get().Resource(v1alpha1.Plural).SpecificallyVersionedParams(&o, scheme.ParameterCodec, optionsVersion).Watch(ctx)
}
