package fakeapi

import (
	"regexp"
	"strings"
)

// kind is a type of objects that a Server has.
type kind struct {
	apiVersion, kind string
}

// kinds are those by their place in the path: group and version, and the plural.
var kinds = map[string]kind{
	"/apis/coordination.k8s.io/v1 leases":      {"coordination.k8s.io/v1", "Lease"},
	"/api/v1 services":                         {"v1", "Service"},
	"/api/v1 nodes":                            {"v1", "Node"},
	"/api/v1 configmaps":                       {"v1", "ConfigMap"},
	"/apis/discovery.k8s.io/v1 endpointslices": {"discovery.k8s.io/v1", "EndpointSlice"},
	"/apis/kvip.dev/v1alpha1 ippools":          {"kvip.dev/v1alpha1", "IPPool"},
	"/apis/apps/v1 daemonsets":                 {"apps/v1", "DaemonSet"},
	"/apis/networking.k8s.io/v1 servicecidrs":  {"networking.k8s.io/v1", "ServiceCIDR"},
}

// place is what a path names: all objects of a kind, those of a namespace, one of them, or its status.
type place struct {
	kind
	group, plural, namespace, name, sub string
}

var paths = regexp.MustCompile(`^(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/(status))?$`)

// placeOf reads a path; false if the Server has no such kind.
func placeOf(path string) (place, bool) {
	part := paths.FindStringSubmatch(path)
	if part == nil {
		return place{}, false
	}
	known, ok := kinds[part[1]+" "+part[3]]
	return place{known, part[1], part[3], part[2], part[4], part[5]}, ok
}

// selection is what a list or watch is about.
type selection struct {
	place
	fields, labels string // the one field metadata.name, one label
}

// has is whether an object is selected.
func (s selection) has(path string, o object) bool {
	of, ok := placeOf(path)
	if !ok || of.kind != s.kind || s.namespace != "" && s.namespace != of.namespace {
		return false
	}
	if name, by := strings.CutPrefix(s.fields, "metadata.name="); by && of.name != name {
		return false
	}
	have, _ := metadata(o)["labels"].(object)
	name, value, exact := strings.Cut(s.labels, "=")
	is, there := have[name]
	return name == "" || there && (!exact || is == value)
}
