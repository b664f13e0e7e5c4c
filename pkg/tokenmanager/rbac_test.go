package tokenmanager

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestPermissions compares the reviews with the RBAC that `kvip manifest rbac` prints.
func TestPermissions(t *testing.T) {
	cfg := config.DaemonSet()
	cfg.LeaseName, cfg.Namespace = "vip-a", "vips"
	all, err := manifest.RBAC(cfg)
	ok(t, err)
	var got []string
	for _, p := range permissions(all) {
		got = append(got, describe(p))
	}
	slices.Sort(got)
	want := []string{
		"create events in default", "create events in vips", "create leases in vips",
		"create serviceaccounts/token kvip in kube-system",
		"get /livez/ping", "get /readyz", "get endpointslices kubernetes in default",
		"get leases vip-a in vips",
		"list leases vip-a in vips", "list leases vip-a-agents in vips",
		"update leases vip-a in vips", "update leases vip-a-agents in vips",
		"watch leases vip-a in vips", "watch leases vip-a-agents in vips",
	}
	if !slices.Equal(got, want) {
		t.Errorf("reviewed:\n%q\nwant:\n%q", got, want)
	}
}

// TestPermissionsOfARule: each combination of a rule's lists is one permission.
func TestPermissionsOfARule(t *testing.T) {
	all := permissionsOf("ns", []rbacv1.PolicyRule{{
		Verbs: []string{"get", "list"}, APIGroups: []string{"", "apps"},
		Resources: []string{"pods", "pods/log"}, ResourceNames: []string{"a", "b"},
	}, {
		Verbs: []string{"get"}, NonResourceURLs: []string{"/livez", "/readyz"},
	}})
	seen := map[string]bool{}
	for _, p := range all {
		key := describe(p)
		if r := p.ResourceAttributes; r != nil {
			key += " of " + r.Group
		}
		seen[key] = true
	}
	complete := seen["list pods/log b in ns of apps"] && seen["get /livez"]
	if len(all) != 18 || len(seen) != 18 || !complete {
		t.Errorf("%d permissions, %d different: %v", len(all), len(seen), seen)
	}
}

// TestEncode: the path has the names, the body kind and version, as server-side apply needs them.
func TestEncode(t *testing.T) {
	all, err := manifest.RBAC(config.DaemonSet())
	ok(t, err)
	sent, err := encode(all)
	ok(t, err)
	if len(sent) != len(all) || sent[0].path != "/api/v1/namespaces/kube-system/serviceaccounts/kvip" {
		t.Fatalf("%d objects, the first at %s", len(sent), sent[0].path)
	}
	for _, o := range sent {
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		ok(t, json.Unmarshal(o.body, &head))
		namespace := head.Metadata.Namespace
		suffix := "/" + strings.ToLower(head.Kind) + "s/" + head.Metadata.Name
		if head.APIVersion == "" || !strings.HasSuffix(o.path, suffix) ||
			(namespace != "") != strings.Contains(o.path, "/namespaces/"+namespace+"/") {
			t.Errorf("%s: %s", o.path, o.body)
		}
	}
	if _, err := encode([]any{&corev1.Pod{}}); err == nil || !strings.Contains(err.Error(), "v1.Pod") {
		t.Errorf("a Pod: %v", err)
	}
}

// TestApply stops at the first object that fails, and names it.
func TestApply(t *testing.T) {
	f := newFixture(t)
	sent := testutil.Must(encode(objects()))
	creds := apiclient.TokenCredentials("admin", "admin", f.api.CA())
	server := testutil.Must(creds.Server(f.server.Host))
	defer server.Close()
	ok(t, apply(t.Context(), server, sent))
	if got := f.api.AppliedPaths(); len(got) != len(sent) {
		t.Errorf("applied %q", got)
	}
	f.server.Deny(fakeapi.DenyRule{Method: "PATCH", Path: "/rolebindings/",
		Code: http.StatusForbidden})
	err := apply(t.Context(), server, sent)
	if !apiclient.IsDenied(err) || !strings.Contains(err.Error(), "/rolebindings/kvip") {
		t.Errorf("%v", err)
	}
}
