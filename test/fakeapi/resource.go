package fakeapi

import (
	"regexp"
	"strings"
)

// object is a Kubernetes object as decoded from JSON.
type object = map[string]any

func metadata(o object) object { return part(o, "metadata") }

func status(o object) object { return part(o, "status") }

// part returns a field of an object that is an object itself. It adds a missing one.
func part(o object, field string) object {
	p, ok := o[field].(object)
	if !ok {
		p = object{}
		o[field] = p
	}
	return p
}

// kind is a kind of objects that a Server has.
type kind struct {
	apiVersion, kind string
}

// kinds are indexed by the path of their group and version, and their plural.
var kinds = map[string]kind{
	"/apis/coordination.k8s.io/v1 leases":       {"coordination.k8s.io/v1", "Lease"},
	"/api/v1 services":                          {"v1", "Service"},
	"/api/v1 nodes":                             {"v1", "Node"},
	"/api/v1 configmaps":                        {"v1", "ConfigMap"},
	"/apis/discovery.k8s.io/v1 endpointslices":  {"discovery.k8s.io/v1", "EndpointSlice"},
	"/api/v1 secrets":                           {"v1", "Secret"},
	"/apis/kvip.dev/v1alpha1 ippools":           {"kvip.dev/v1alpha1", "IPPool"},
	"/apis/kvip.dev/v1alpha1 bgppeers":          {"kvip.dev/v1alpha1", "BGPPeer"},
	"/apis/kvip.dev/v1alpha1 bgpadvertisements": {"kvip.dev/v1alpha1", "BGPAdvertisement"},
	"/apis/kvip.dev/v1alpha1 bfdprofiles":       {"kvip.dev/v1alpha1", "BFDProfile"},
	"/apis/kvip.dev/v1alpha1 bgpnodestates":     {"kvip.dev/v1alpha1", "BGPNodeState"},
	"/apis/apps/v1 daemonsets":                  {"apps/v1", "DaemonSet"},
	"/apis/networking.k8s.io/v1 servicecidrs":   {"networking.k8s.io/v1", "ServiceCIDR"},
}

// resourcePath is a parsed path: all objects of a kind, those of a namespace, one object, or its
// status.
type resourcePath struct {
	kind
	namespace, name, subresource string
}

var resourcePattern = regexp.MustCompile(`^(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?` +
	`/([a-z]+)(?:/([^/]+))?(?:/(status))?$`)

// parsePath parses a path. It returns false if the Server has no such kind.
func parsePath(path string) (resourcePath, bool) {
	m := resourcePattern.FindStringSubmatch(path)
	if m == nil {
		return resourcePath{}, false
	}
	k, known := kinds[m[1]+" "+m[3]]
	return resourcePath{k, m[2], m[4], m[5]}, known
}

// selector selects the objects of a list or watch.
type selector struct {
	resourcePath
	fields, labels string // only the field metadata.name, and one label
}

// matches reports whether the object at a path is selected.
func (s selector) matches(path string, o object) bool {
	p, known := parsePath(path)
	if !known || p.kind != s.kind || s.namespace != "" && s.namespace != p.namespace {
		return false
	}
	if name, found := strings.CutPrefix(s.fields, "metadata.name="); found && p.name != name {
		return false
	}
	labels, _ := metadata(o)["labels"].(object)
	name, want, exact := strings.Cut(s.labels, "=")
	value, found := labels[name]
	return name == "" || found && (!exact || value == want)
}
