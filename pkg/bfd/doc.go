// Package bfd detects within a few packets that the path to a router has failed, or the router
// itself: Bidirectional Forwarding Detection (RFC 5880) over one hop (RFC 5881) and over several
// (RFC 5883), in asynchronous mode and in the active role.
//
// A [Machine] is the protocol of one session without clock, sockets and randomness. A [Server] runs
// the sessions of a node on UDP sockets. The package reports the state of a path. It does not
// decide what follows from it, and has no knowledge of BGP. It has no echo function, no demand mode
// of its own and no authentication: the TTL proves that a packet of a single hop comes from the
// link.
//
// It keeps rule B8: a TTL of 255 or the packet is dropped, at least a second between packets while
// a session is not Up, the transmit timer armed again at once when it goes Up, AdminDown before a
// planned leave, and timers changed by a Poll Sequence instead of a new session. With Config.Permit
// it keeps its part of rule B6: a process that was frozen sends nothing before it is permitted to.
package bfd
