// Package v1alpha1 is the typed API of kvip: what an IPPool looks like to Kubernetes. It only states
// the shape and what an API server can check; giving addresses out is pkg/ipam's job.
//
// The deep copies and templates/crd-ippool.yaml are made from it by `make generate`.
//
// +kubebuilder:object:generate=true
// +groupName=kvip.dev
package v1alpha1
