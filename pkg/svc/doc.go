// Package svc reads what the Services part needs of Kubernetes (Services, EndpointSlices, Nodes,
// Leases, pools), decodes it at the edge into plain values, and keeps those up to date. Who gives out
// addresses is its sub-package allocate, who announces them is serve; neither is its own job.
package svc
