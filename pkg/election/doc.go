// Package election decides which node may hold the virtual addresses. It is a pure state machine
// over one Lease: facts enter as events, actions come out, and the same events at the same instants
// always give the same actions.
//
// It does not read a clock, start goroutines or use the network. Package kubelease turns its
// requests into calls of an API server; package controlplane executes the other actions. The rules
// E1 to E12 that comments name are in docs/design/election.md.
package election
