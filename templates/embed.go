// Package templates holds the Kubernetes manifests of kvip as plain, valid YAML. It only carries
// the files: what varies is filled in by pkg/manifest, on typed objects; nothing varies in the CRD.
package templates

import _ "embed"

// StaticPod is a Pod for the kubelet's manifest directory on a control-plane node.
//
//go:embed static-pod.yaml
var StaticPod []byte

// DaemonSet is a DaemonSet for nodes of a running cluster.
//
//go:embed daemonset.yaml
var DaemonSet []byte

// RBAC is the ServiceAccount of kvip with its roles and bindings, as several documents.
//
//go:embed rbac.yaml
var RBAC []byte

// ServicesRBAC is what serving Services needs beside a ServiceAccount, as several documents.
//
//go:embed rbac-services.yaml
var ServicesRBAC []byte

// CRD is the definition of IPPool, as `make generate` makes it.
//
//go:embed crd-ippool.yaml
var CRD []byte
