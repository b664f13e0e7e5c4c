// Package routerlab runs BGP routers of Debian 12 in hosts of netlab, as the peers of tests,
// benchmarks and demonstrations: FRR 8.4 (zebra, bgpd, bfdd), BIRD 2.0, GoBGP 3.10, OpenBGPD 7.7
// and ExaBGP 4.2.
//
// A router has its configuration, sockets and logs in the directory of its host: its processes see
// directories of the host as /etc, /run and /var/tmp. Routers in different hosts do not affect each
// other. A host has one router at a time.
//
// What a kind of router does not have is an error that wraps errors.ErrUnsupported:
//
//	                     FRR  BIRD  GoBGP  OpenBGPD  ExaBGP
//	KernelRoutes         yes  yes   no     no        no
//	Interface            yes  yes   no     no        no      unnumbered
//	Listen               yes  yes   yes    yes       no
//	BFD, SetBFD          yes  yes   no     no        no
//	ExtendedNextHop      yes  yes   yes    no        yes     RFC 8950
//	Password             yes  yes   yes    yes       yes     TCP MD5
//	TTLSecurity          yes  yes   yes    yes       yes
//	Multihop             yes  yes   yes    yes       yes
//	MaximumPrefixes      yes  yes   yes    yes       no
//	GracefulRestart      yes  yes   yes    yes       no      helper
//	RequestRefresh       yes  yes   no     yes       yes
//	Originate, Announce  yes  yes   yes    yes       yes
//	OriginateCount       yes  yes   no     no        no
//	ErrorWait            no   yes   no     no        no
//
// Facts about them, measured here:
//
//   - FRR keeps a session with six routes in one UPDATE and a limit of five. It installs the
//     link-local one of two IPv6 next hops.
//   - BIRD sends routes up to 3 s after the session is established, unless something wakes it. It
//     ends a BGP session at AdminDown of BFD.
//   - GoBGP accepts no session for 30 s after Reset, and for 5 s after the peer was killed.
//   - GoBGP stays Idle after MaximumPrefixes until an operator enables the neighbor, and may close
//     the socket before it has read everything, so that its NOTIFICATION is lost. OpenBGPD and FRR
//     stay Idle until Reset.
//   - ExaBGP has no table: its routes are computed from its reports, and none is stale. It accepts
//     any TTL with TTLSecurity, and sends SYN-ACKs of IPv6 with hop limit 64.
//   - OpenBGPD announces IPv6 routes with next hop ::1 over a session over IPv4. It reads 100 000
//     routes of its configuration for more than a minute, so that OriginateCount is not offered.
package routerlab
