// Package v1alpha1 is the typed API of kvip: what its objects look like to Kubernetes. It only
// states the shape and what an API server can check. pkg/ipam allocates addresses, pkg/bgp has the
// sessions.
//
// All kinds are cluster-scoped, also those of BGP. They describe the network of all nodes, and nodes
// have no namespace. With a namespace, the right to write in it would look like one for that
// namespace alone and change the routes of every node, and a name in ipAddressPools or peers would
// need a namespace beside it.
//
// The deep copies and templates/crd-*.yaml are made from it by `make generate`.
//
// +kubebuilder:object:generate=true
// +groupName=kvip.dev
package v1alpha1
