// Package kubelease carries the election over a coordination.k8s.io/v1 Lease: it writes
// and reads what the machine of package election asks for, and watches the object so
// that a released lease is seen within milliseconds. It decides nothing.
//
// The Lease stays readable for everybody else: holderIdentity, leaseDurationSeconds,
// acquireTime, renewTime and leaseTransitions mean what they always mean, and what kvip
// needs besides is in annotations under kvip.dev/.
package kubelease
