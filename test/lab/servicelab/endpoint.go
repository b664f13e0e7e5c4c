package servicelab

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is what an EndpointSlice says of one endpoint.
type State int

const (
	// Ready is an endpoint that takes traffic.
	Ready State = iota
	// Unready is one that does not.
	Unready
	// Terminating is one whose pod ends, and that still serves.
	Terminating
	// Gone is one whose pod ends, and that serves no more.
	Gone
)

func (s State) conditions() discoveryv1.EndpointConditions {
	ready, serving, ends := s == Ready, s == Ready || s == Terminating, s == Terminating || s == Gone
	return discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &ends}
}

// Endpoints says where a Service has endpoints, one a node: it writes its only EndpointSlice, as
// the controller would.
func (l *Lab) Endpoints(ctx context.Context, service string, states map[string]State) error {
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4,
		discoveryv1.AddressTypeIPv6} {
		if err := l.endpoints(ctx, service, family, states); err != nil {
			return fmt.Errorf("write %s endpoints of %s: %w", family, service, err)
		}
	}
	return nil
}

// endpoints writes the slice of one family, as the controller of Kubernetes has one for each.
func (l *Lab) endpoints(ctx context.Context, service string, family discoveryv1.AddressType,
	states map[string]State) error {
	namespace, name := split(service)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-lab-" + strings.ToLower(string(family)),
			Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: family,
	}
	number, protocol := int32(Port), corev1.ProtocolTCP
	slice.Ports = []discoveryv1.EndpointPort{{Port: &number, Protocol: &protocol}}
	for node, state := range states {
		n := l.Node(node)
		if n == nil {
			return fmt.Errorf("there is no node %s", node)
		}
		address := n.Host.Addr(family == discoveryv1.AddressTypeIPv4).String()
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, NodeName: &node, Conditions: state.conditions(),
		})
	}
	client := l.Kube.DiscoveryV1().EndpointSlices(namespace)
	_, err := client.Update(ctx, slice, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, slice, metav1.CreateOptions{})
	}
	return err
}
