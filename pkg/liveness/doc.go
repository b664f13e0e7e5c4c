// Package liveness decides which announcing nodes are alive, from the one Lease that each of them renews.
// It is pure: what was confirmed and what the watch showed goes in with its instant, a verdict comes out.
//
// It renews and watches nothing, and does not choose who announces what: that is package place. Instants are durations
// since boot of the node that judges; none is ever taken from an object, so that no other node's clock matters.
// The rules S1 and S2 named in comments:
//
//   - S1: one Lease a node, renewed every max(1 s, nodes / 20 s), lasting five intervals: 20 writes a second at most.
//   - S2: a node judges others only while its own renewal is confirmed and seen back through its watch. After any gap
//     every peer gets a full lease duration anew, and renewal backs off less than that. So an outage of the API moves nothing.
package liveness
