// Package agent wires the parts together: it turns what the node and the cluster report
// into events of the election, and carries the election's actions out in the order that
// keeps one holder. It contains no rule of its own beyond start, hand-over and shutdown order.
package agent
