// Package kindcluster makes real Kubernetes clusters in kind, with kvip's address as the
// control-plane endpoint or as plain ones, breaks their nodes, and watches who has the address and
// who answers there. The demonstrations and the tests share it; it decides nothing about what is
// right.
//
// Everything is done with the commands that a user has: docker, kind, kubectl inside the nodes, and
// kvip's own to make the manifest and the configuration.
package kindcluster
