package tokenmanager

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/manifest"
)

// TestEveryRuleIsAskedFor compares the questions with what `kvip manifest rbac` prints.
func TestEveryRuleIsAskedFor(t *testing.T) {
	cfg := config.DaemonSet()
	cfg.LeaseName, cfg.Namespace = "vip-a", "vips"
	all, err := manifest.RBAC(cfg)
	ok(t, err)
	var got []string
	for _, q := range permissions(all) {
		got = append(got, describe(q))
	}
	slices.Sort(got)
	want := []string{
		"create events in vips", "create leases in vips", "create serviceaccounts/token kvip in kube-system", "get /livez/ping", "get /readyz",
		"get endpointslices kubernetes in default", "get leases vip-a in vips", "list leases vip-a in vips", "update leases vip-a in vips",
		"watch leases vip-a in vips",
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked:\n%q\nwant:\n%q", got, want)
	}
}

// TestObjectsAreSentAsTheyAre: the path has the names, the body kind and version, as server-side apply
// wants them.
func TestObjectsAreSentAsTheyAre(t *testing.T) {
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
		namespaced := head.Metadata.Namespace != ""
		if head.APIVersion == "" || !strings.HasSuffix(o.path, "/"+strings.ToLower(head.Kind)+"s/"+head.Metadata.Name) ||
			namespaced != strings.Contains(o.path, "/namespaces/"+head.Metadata.Namespace+"/") {
			t.Errorf("%s: %s", o.path, o.body)
		}
	}
}
