// Package peer exchanges the quorum's messages between the agents of one Lease (F10).
//
// Each process makes a key at its start and publishes its public part, with its identity and UDP
// address, in a Lease that all agents share. Two agents derive keys for each direction from their
// own private and the other's public key (X25519, HKDF). Each datagram carries a cookie of its
// direction, which a filter in the kernel compares before a socket receives the datagram, a number
// that only grows, and an HMAC-SHA256. Each agent has a connected socket for every other one, so
// that the kernel answers datagrams of other hosts itself, and reports an agent whose process has
// ended by ECONNREFUSED (udp(7)).
package peer
