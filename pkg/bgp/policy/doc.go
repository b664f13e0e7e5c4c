// Package policy decides which routes with which attributes each BGP peer receives. It is pure: a
// function of peers, advertisements, addresses and the node. It does not decide which addresses a
// node serves.
package policy
