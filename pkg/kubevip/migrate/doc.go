// Package migrate turns a manifest that runs kube-vip into the one that runs kvip in its place. What kube-vip's settings
// mean is pkg/kubevip's to know and what kvip's manifests look like pkg/manifest's; it applies nothing to a cluster.
package migrate
