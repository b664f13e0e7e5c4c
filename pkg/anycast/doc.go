// Package anycast announces the addresses of the control plane by BGP: every node with a ready API
// server does, and routers choose among them. There is no holder and no election. It decides from
// the health of the local API server alone when this node has the addresses and what it announces:
// health, then address, then route (B3), and in the reverse order when it leaves (B4).
//
// Machine has the decisions. It is pure. An Agent carries them out.
package anycast
