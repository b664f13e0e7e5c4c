package controlplane

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// TestManifestsAreAccepted sends what each manifest command prints to a real API server, which
// validates it strictly and admits it, and keeps nothing.
func TestManifestsAreAccepted(t *testing.T) {
	s := prepareEnv(t)
	s.noAgents = true
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll},
		FieldValidation: metav1.FieldValidationStrict}
	accepted := func(args ...string) {
		for _, object := range s.print(args...) {
			if _, err := s.resource(object).Create(t.Context(), object, dry); err != nil {
				t.Errorf("kvip manifest %v: %s %s: %v", args, object.GetKind(), object.GetName(), err)
			}
		}
	}
	accepted("rbac")
	accepted("rbac", "--lease-name=other", "--namespace=default")
	accepted("rbac", "--services")
	accepted("rbac", "--services", "--vip=10.77.0.100")
	s.create(s.print("rbac")...)
	accepted("daemonset", "--vip=10.77.0.100")
	accepted("daemonset", "--vip=fd6b:7669:7000::100", "--workers", "--metrics-address=")
	accepted("crd")
	s.create(s.print("rbac", "--services")...)
	accepted("daemonset", "--services")
	accepted("daemonset", "--services", "--control-planes")
	accepted("daemonset", "--services", "--vip=10.77.0.100")
	account := &unstructured.Unstructured{} // which the controller manager would make
	account.SetAPIVersion("v1")
	account.SetKind("ServiceAccount")
	account.SetNamespace(metav1.NamespaceSystem)
	account.SetName("default")
	s.create(account)
	accepted("pod", "--vip=10.77.0.100")
	accepted("pod", "--vip=10.77.0.100", "--services")
	accepted("pod", "--vip=10.77.0.100,fd6b:7669:7000::100", "--interface=eth0",
		"--lease-duration=10s", "--log-format=json")
}

// print runs `kvip manifest` and returns the objects it printed.
func (s *env) print(args ...string) (objects []*unstructured.Unstructured) {
	s.t.Helper()
	for document := range bytes.SplitSeq(s.manifestOf(args...), []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		s.must(yaml.Unmarshal(document, &object.Object))
		objects = append(objects, object)
	}
	return objects
}

// manifestOf runs `kvip manifest` and returns what it printed.
func (s *env) manifestOf(args ...string) []byte {
	s.t.Helper()
	out, err := exec.Command(s.kvip, append([]string{"manifest"}, args...)...).Output()
	s.must(err)
	return out
}

// resource returns the client for objects of that kind and namespace.
func (s *env) resource(object *unstructured.Unstructured) dynamic.ResourceInterface {
	s.t.Helper()
	conf, err := s.c.RESTConfig(s.c.Nodes[0])
	s.must(err)
	kube, err := kubernetes.NewForConfig(conf)
	s.must(err)
	client, err := dynamic.NewForConfig(conf)
	s.must(err)
	kind := object.GroupVersionKind()
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	s.must(err)
	return client.Resource(mapping.Resource).Namespace(object.GetNamespace())
}

// apply creates objects until the next Reset, which knows kvip's.
func (s *env) apply(objects ...*unstructured.Unstructured) {
	s.t.Helper()
	for _, object := range objects {
		_, err := s.resource(object).Create(s.t.Context(), object, metav1.CreateOptions{})
		s.must(err)
	}
}

// create creates objects for the time of the test.
func (s *env) create(objects ...*unstructured.Unstructured) {
	s.t.Helper()
	for _, object := range objects {
		client := s.resource(object)
		_, err := client.Create(s.t.Context(), object, metav1.CreateOptions{})
		s.must(err)
		s.t.Cleanup(func() {
			if err := client.Delete(context.Background(), object.GetName(),
				metav1.DeleteOptions{}); err != nil {
				s.t.Error(err)
			}
		})
	}
}
