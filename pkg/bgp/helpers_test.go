package bgp

import "net/netip"

// testPeer returns the configuration that tests begin with: an external peer.
func testPeer() PeerConfig {
	return PeerConfig{
		Name: "tor", LocalAS: 65010, PeerAS: 65000, RouterID: netip.MustParseAddr("10.0.0.11"),
		Address: netip.MustParseAddr("10.0.0.254"),
	}
}

// validPeer returns testPeer with its defaults, changed by change.
func validPeer(change func(*PeerConfig)) PeerConfig {
	cfg := testPeer()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	return cfg
}
