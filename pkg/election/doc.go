// Package election decides who may hold the virtual addresses. It is a pure state
// machine over one Lease: facts go in as events, intentions come out as actions, and
// the same events at the same instants always give the same actions.
//
// It reads no clock, starts no goroutine and talks to nobody. Package kubelease turns
// its actions into requests to an API server; package agent executes the others.
// The rules E1 to E12 named in comments are stated in docs/design/election.md.
package election
