// Package bgp announces routes to BGP peers: it keeps one session to each peer, and sends the
// routes that it is given, with the attributes that each peer shall have. It only dials (B1), and
// reads nothing but what keeps a session up: routes of a peer are dropped unread (B2). It does not
// decide which routes there are, and does not touch the kernel's addresses or routes.
//
// Machine has the decisions of one session. It is pure. A Speaker runs one for each peer.
package bgp
