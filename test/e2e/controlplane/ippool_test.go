package controlplane

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// TestPoolsAreChecked gives the API server the definition that `kvip manifest crd` prints, and
// pools, which it keeps none of: it refuses what is wrong with the fix, and takes the largest.
func TestPoolsAreChecked(t *testing.T) {
	s := prepareEnv(t)
	s.noAgents = true
	s.create(s.print("crd")...)
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll},
		FieldValidation: metav1.FieldValidationStrict}
	conf, err := s.c.RESTConfig(s.c.Nodes[0])
	s.must(err)
	client, err := dynamic.NewForConfig(conf)
	s.must(err)
	try := func(addresses ...any) error {
		spec := map[string]any{"addresses": addresses}
		pool := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		pool.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.Kind))
		pool.SetName("a")
		_, err := client.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.Plural)).Create(
			t.Context(), pool, dry)
		return err
	}
	s.wait("the API server to know IPPool",
		func() bool { return try("192.0.2.0/24", "2001:db8::1-2001:db8::f", "198.51.100.7") == nil })
	for address, says := range map[string]string{
		"banana":                "must be a network like 192.0.2.0/24",
		"192.0.2.7/24":          "write the first address of the network",
		"192.0.2.9-192.0.2.1":   "write the lower address first",
		"192.0.2.9-2001:db8::9": "one range for IPv4 and one for IPv6",
		"127.0.0.1":             "is not for hosts",
	} {
		if err := try(address); err == nil || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), "spec.addresses[0]") {
			t.Errorf("%s: got %v, want %q", address, err, says)
		}
	}
	if err := try("192.0.2.0/24", "192.0.2.128/25"); err == nil ||
		!strings.Contains(err.Error(), "remove or narrow one of the two") {
		t.Errorf("overlap within a pool: %v", err)
	}
}
