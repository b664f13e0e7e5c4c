package servicelab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// Port is where a Service listens that asks for no other, and a Backend too.
const Port = 8080

// Edit changes a Service before it is created, or later.
type Edit func(*corev1.Service)

// Annotate sets an annotation; an empty value removes it.
func Annotate(name, value string) Edit {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[name] = value
		if value == "" {
			delete(s.Annotations, name)
		}
	}
}

// Ports replaces the ports by these of TCP.
func Ports(numbers ...int32) Edit {
	return func(s *corev1.Service) {
		s.Spec.Ports = nil
		for _, n := range numbers {
			s.Spec.Ports = append(s.Spec.Ports,
				corev1.ServicePort{Name: fmt.Sprintf("tcp-%d", n), Port: n, Protocol: corev1.ProtocolTCP})
		}
	}
}

// Families sets policy and order of the families.
func Families(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) Edit {
	return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, families }
}

// Local sets externalTrafficPolicy to Local.
func Local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// Class sets the loadBalancerClass, which cannot be changed later.
func Class(name string) Edit { return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name } }

// Service returns a Service of type LoadBalancer for Port, without a node port. The name may have a
// namespace before it, as in "shop/web"; else it is default's.
func Service(name string, edits ...Edit) *corev1.Service {
	namespace, name := split(name)
	noNodePorts := false
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer,
			AllocateLoadBalancerNodePorts: &noNodePorts},
	}
	for _, edit := range append([]Edit{Ports(Port)}, edits...) {
		edit(s)
	}
	return s
}

func split(name string) (namespace, rest string) {
	if namespace, rest, both := strings.Cut(name, "/"); both {
		return namespace, rest
	}
	return metav1.NamespaceDefault, name
}

// Create creates a Service, and its namespace where that is missing.
func (l *Lab) Create(ctx context.Context, name string, edits ...Edit) error {
	s := Service(name, edits...)
	_, err := l.Kube.CoreV1().Services(s.Namespace).Create(ctx, s, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}
		if _, err = l.Kube.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err == nil {
			_, err = l.Kube.CoreV1().Services(s.Namespace).Create(ctx, s, metav1.CreateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("create service %s: %w", name, err)
	}
	return nil
}

// Change changes a Service.
func (l *Lab) Change(ctx context.Context, name string, edits ...Edit) error {
	namespace, short := split(name)
	client := l.Kube.CoreV1().Services(namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		s, err := client.Get(ctx, short, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, edit := range edits {
			edit(s)
		}
		_, err = client.Update(ctx, s, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("change service %s: %w", name, err)
	}
	return nil
}

// Delete deletes a Service.
func (l *Lab) Delete(ctx context.Context, name string) error {
	namespace, short := split(name)
	if err := l.Kube.CoreV1().Services(namespace).Delete(ctx, short,
		metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete service %s: %w", name, err)
	}
	return nil
}

// Read returns a Service as it is now.
func (l *Lab) Read(ctx context.Context, name string) (*corev1.Service, error) {
	namespace, short := split(name)
	s, err := l.Kube.CoreV1().Services(namespace).Get(ctx, short, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read service %s: %w", name, err)
	}
	return s, nil
}

// IngressOf returns the addresses in a Service's status.
func IngressOf(s *corev1.Service) []netip.Addr {
	var list []netip.Addr
	for _, i := range s.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(i.IP); err == nil {
			list = append(list, addr)
		}
	}
	return list
}
