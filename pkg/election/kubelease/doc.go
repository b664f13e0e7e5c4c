// Package kubelease stores the election in a coordination.k8s.io/v1 Lease: it executes the reads
// and writes that the machine of package election requests, and watches the Lease, so that a
// release is seen within milliseconds. It takes no decisions.
//
// holderIdentity, leaseDurationSeconds, acquireTime, renewTime and leaseTransitions have their
// usual meaning for other programs. kvip's own fields are annotations under kvip.dev/.
package kubelease
