package svc

import (
	"context"
	"fmt"
	"reflect"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// listWatch lists and watches the objects of one kind at an API server.
type listWatch struct {
	kind     string         // for people, such as "services"
	resource string         // of the API, such as "services"
	example  runtime.Object // an empty object of the type that a watch delivers
	list     requestFunc[runtime.Object]
	watch    requestFunc[watch.Interface]
	// optional objects are not required: a missing right to read them does not make the credentials
	// suspect (S9).
	optional bool
	// maxAbsentPause is the longest pause between requests for a type that is absent. 0: absentPause.
	maxAbsentPause time.Duration
}

// requestFunc sends one request to one API server.
type requestFunc[R any] func(context.Context, *apiclient.Server, metav1.ListOptions) (R, error)

// send sends a request to the API server that the router chooses, and reports the result to it.
func send[R any](
	ctx context.Context, router *apiclient.Router, l listWatch, request requestFunc[R],
	o metav1.ListOptions,
) (result R, err error) {
	server, err := router.Server()
	if err != nil {
		return result, err
	}
	result, err = request(ctx, server, o)
	if !l.optional || !apierrors.IsForbidden(err) {
		router.Report(server, err)
	}
	return result, err
}

// collection is a set of objects of the API: one type, in one namespace or in all, reduced by
// options.
type collection struct {
	client          func(*apiclient.Server) rest.Interface
	name, namespace string
	narrow          func(*metav1.ListOptions)
	path            string // replaces client and namespace, for a group without a client
}

// newListWatch returns the listWatch of a collection. list returns a new list.
func newListWatch(
	kind string, c collection, example runtime.Object, list func() runtime.Object,
) listWatch {
	return listWatch{
		kind: kind, resource: c.name, example: example,
		list: func(
			ctx context.Context, s *apiclient.Server, o metav1.ListOptions,
		) (runtime.Object, error) {
			result := list()
			return result, c.request(s, o).Do(ctx).Into(result)
		},
		watch: func(
			ctx context.Context, s *apiclient.Server, o metav1.ListOptions,
		) (watch.Interface, error) {
			o.Watch = true
			w, err := c.request(s, o).Watch(ctx)
			if err == nil && reflect.TypeOf(w) == emptyWatch {
				return nil, fmt.Errorf("watch %s: API server %s does not answer, or ended the connection",
					kind, s.Host)
			}
			return w, err
		},
	}
}

// emptyWatch is the type of the watch that client-go returns, without an error, if a server does
// not answer in time or ends the connection. As a watch, it would begin again there for ever.
var emptyWatch = reflect.TypeOf(watch.NewEmptyWatch())

// optionsVersion is the version of list options in every group (Kubernetes API conventions).
var optionsVersion = schema.GroupVersion{Version: "v1"}

// request returns a request to one server without retries: the router and the store retry.
func (c collection) request(s *apiclient.Server, o metav1.ListOptions) *rest.Request {
	if c.narrow != nil {
		c.narrow(&o)
	}
	var request *rest.Request
	if c.path != "" {
		request = s.REST().Get().AbsPath(c.path)
	} else {
		request = c.client(s).Get().NamespaceIfScoped(c.namespace, c.namespace != "").Resource(c.name)
	}
	return request.SpecificallyVersionedParams(&o, scheme.ParameterCodec, optionsVersion).MaxRetries(0)
}

// optional marks a listWatch as not required.
func optional(l listWatch) listWatch {
	l.optional = true
	return l
}

func named(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
}

func core(s *apiclient.Server) rest.Interface         { return s.Core.RESTClient() }
func discovery(s *apiclient.Server) rest.Interface    { return s.Discovery.RESTClient() }
func coordination(s *apiclient.Server) rest.Interface { return s.Coordination.RESTClient() }
func kvipGroup(s *apiclient.Server) rest.Interface    { return s.KVIP }
func kvipRaw(s *apiclient.Server) rest.Interface      { return s.KVIPRaw }

func leaseList() runtime.Object { return &coordinationv1.LeaseList{} }

var (
	listServices = newListWatch("services", collection{client: core, name: "services"},
		&corev1.Service{}, func() runtime.Object { return &corev1.ServiceList{} })
	listNodes = newListWatch("nodes", collection{client: core, name: "nodes"},
		&corev1.Node{}, func() runtime.Object { return &corev1.NodeList{} })
	listSlices = newListWatch("endpointslices", collection{client: discovery, name: "endpointslices"},
		&discoveryv1.EndpointSlice{}, func() runtime.Object { return &discoveryv1.EndpointSliceList{} })
	listPools = optional(newListWatch("ippools", collection{client: kvipGroup, name: v1alpha1.Plural},
		&v1alpha1.IPPool{}, func() runtime.Object { return &v1alpha1.IPPoolList{} }))
	listKubeVIPConfigMap = optional(newListWatch(
		"configmap "+kubevip.PoolsNamespace+"/"+kubevip.PoolsConfigMap,
		collection{
			client: core, name: "configmaps", namespace: kubevip.PoolsNamespace,
			narrow: named(kubevip.PoolsConfigMap),
		},
		&corev1.ConfigMap{}, func() runtime.Object { return &corev1.ConfigMapList{} }))
	// listServiceCIDRs lists the networks of the cluster's Services (Kubernetes 1.33).
	listServiceCIDRs = optional(newListWatch("servicecidrs",
		collection{name: "servicecidrs", path: "/apis/networking.k8s.io/v1/servicecidrs"},
		&networkingv1.ServiceCIDR{}, func() runtime.Object { return &networkingv1.ServiceCIDRList{} }))
)

// bgpAbsentPause is for the kinds of BGP. Few clusters have them, and every node asks.
const bgpAbsentPause = time.Minute

// listBGP lists a kind of BGP. It is not required: its definition or the right may be missing, as
// after an upgrade of the agents alone.
func listBGP(plural string) listWatch {
	l := optional(newListWatch(plural, collection{client: kvipRaw, name: plural},
		&apiclient.RawObject{}, func() runtime.Object { return &apiclient.RawList{} }))
	l.maxAbsentPause = bgpAbsentPause
	return l
}

// listSecret lists one Secret by its name.
func listSecret(namespace, name string) listWatch {
	l := optional(newListWatch("secret "+namespace+"/"+name,
		collection{client: core, name: "secrets", namespace: namespace, narrow: named(name)},
		&corev1.Secret{}, func() runtime.Object { return &corev1.SecretList{} }))
	l.maxAbsentPause = bgpAbsentPause
	return l
}

// listLeases lists the Leases of nodes, of the ledger and of control planes.
func listLeases(namespace string) listWatch {
	labelled := func(o *metav1.ListOptions) { o.LabelSelector = LabelRole }
	return newListWatch("leases",
		collection{client: coordination, name: "leases", namespace: namespace, narrow: labelled},
		&coordinationv1.Lease{}, leaseList)
}

// listLease lists one Lease by its name: another program may have created it, without a label.
func listLease(namespace, name string) listWatch {
	return newListWatch("lease "+namespace+"/"+name,
		collection{client: coordination, name: "leases", namespace: namespace, narrow: named(name)},
		&coordinationv1.Lease{}, leaseList)
}
