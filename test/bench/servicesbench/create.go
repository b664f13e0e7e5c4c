package servicesbench

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// clients is how many requests the benchmark has open at a time, at all API servers together.
const clients = 24

// client returns a client for many objects: it speaks protobuf, to leave the cores to others.
func client(l *servicelab.Lab, n *cluster.Node) (kubernetes.Interface, error) {
	conf, err := l.RESTConfig(n)
	if err != nil {
		return nil, err
	}
	conf.ContentType, conf.AcceptContentTypes, conf.UserAgent = runtime.ContentTypeProtobuf,
		runtime.ContentTypeProtobuf, "bench"
	conf.Timeout = 0 // watches last
	return kubernetes.NewForConfig(conf)
}

func name(i int) string { return fmt.Sprintf("bench-%04d", i) }

// each does something to all of n Services, many at a time, at all API servers.
func each(ctx context.Context, l *servicelab.Lab, n int,
	do func(ctx context.Context, kube kubernetes.Interface, i int) error) error {
	var servers []kubernetes.Interface
	for _, node := range l.Nodes {
		kube, err := client(l, node)
		if err != nil {
			return err
		}
		servers = append(servers, kube)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, servers[i%len(servers)], i) })
	}
	return group.Wait()
}

// births says when each Service was created, by name.
type births struct {
	mu   sync.Mutex
	sent map[string]time.Time // when its creation was sent: the API's own time counts as kvip's
}

// endpoints makes an EndpointSlice with one endpoint for each of n Services to come, as their
// controller would. Their creation is not measured.
func endpoints(ctx context.Context, l *servicelab.Lab, n int) error {
	return each(ctx, l, n, func(ctx context.Context, kube kubernetes.Interface, i int) error {
		node, port, ready := l.Nodes[i%len(l.Nodes)], int32(servicelab.Port), true
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name(i) + "-1",
				Labels: map[string]string{discoveryv1.LabelServiceName: name(i)}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{node.Host.Addr(true).String()},
				NodeName: &node.Name, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}
		if _, err := kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(ctx, slice,
			metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create endpointslice of %s: %w", name(i), err)
		}
		return nil
	})
}

// create creates n Services.
func create(ctx context.Context, l *servicelab.Lab, n int) (*births, error) {
	b := &births{sent: map[string]time.Time{}}
	err := each(ctx, l, n, func(ctx context.Context, kube kubernetes.Interface, i int) error {
		b.mu.Lock()
		b.sent[name(i)] = time.Now()
		b.mu.Unlock()
		_, err := kube.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, servicelab.Service(name(i)),
			metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create service %s: %w", name(i), err)
		}
		return nil
	})
	return b, err
}

// given is when a Service's status had an address, and which.
type given struct {
	addr netip.Addr
	at   time.Time
}

// statuses watches Services until n have an address; found is called for each.
func statuses(ctx context.Context, l *servicelab.Lab, n int,
	found func(netip.Addr)) (map[string]given, error) {
	kube, err := client(l, l.Nodes[0])
	if err != nil {
		return nil, err
	}
	all := map[string]given{}
	see := func(s *corev1.Service) {
		if _, known := all[s.Name]; known {
			return
		}
		if list := servicelab.IngressOf(s); len(list) > 0 {
			all[s.Name] = given{list[0], time.Now()}
			found(list[0])
		}
	}
	for len(all) < n {
		if err := follow(ctx, kube,
			func(s *corev1.Service) bool { see(s); return len(all) < n }); err != nil {
			return nil, fmt.Errorf("watch services: %d of %d have an address: %w", len(all), n, err)
		}
	}
	return all, nil
}

// follow lists and watches until more says no or the watch ends.
func follow(ctx context.Context, kube kubernetes.Interface, more func(*corev1.Service) bool) error {
	services := kube.CoreV1().Services(metav1.NamespaceDefault)
	list, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if !more(&list.Items[i]) {
			return nil
		}
	}
	w, err := services.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if s, ok := event.Object.(*corev1.Service); ok && !more(s) {
			return nil
		}
	}
	return ctx.Err()
}
