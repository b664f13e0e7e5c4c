// Package controlplane tests kvip as a whole: real agents on three real control-plane nodes, real
// packets, and every fault that the network lab can inject. Each test asserts what must
// always hold: never two holders among nodes that can reach each other, an address that
// ends on a healthy node, nothing left behind, and no agent that has exited. No test
// asserts a time.
package controlplane
