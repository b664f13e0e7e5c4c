package link

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// message is struct inet_diag_msg of a connection in the given state.
func message(family, state byte, local, remote netip.AddrPort) []byte {
	b := make([]byte, 72)
	b[0], b[1] = family, state
	b[4], b[5] = byte(local.Port()>>8), byte(local.Port())
	b[6], b[7] = byte(remote.Port()>>8), byte(remote.Port())
	copy(b[8:24], wire(family, local.Addr()))
	copy(b[24:40], wire(family, remote.Addr()))
	return b
}

func wire(family byte, a netip.Addr) []byte {
	if family == unix.AF_INET6 {
		full := a.As16() // mapped when it is IPv4
		return full[:]
	}
	return a.AsSlice()
}

func TestParseSocket(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.9.0.100:6443"),
		netip.MustParseAddrPort("10.9.0.2:40000")
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		c, ok := parseSocket(message(family, 1, local, remote))
		if !ok || c.Family != family || c.Local != local || c.Remote != remote ||
			!slices.Equal(c.ID[:], message(family, 1, local, remote)[4:52]) {
			t.Errorf("family %d: %+v, %v", family, c, ok)
		}
	}
	for desc, b := range map[string][]byte{
		"empty": nil, "short": message(unix.AF_INET, 1, local, remote)[:71],
		"no such state": message(unix.AF_INET, 32, local, remote),
		"other family":  message(1, 1, local, remote),
	} {
		if c, ok := parseSocket(b); ok {
			t.Errorf("%s: accepted as %+v", desc, c)
		}
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add(message(unix.AF_INET, 1, netip.MustParseAddrPort("10.9.0.100:6443"),
		netip.MustParseAddrPort("10.9.0.2:1")))
	f.Add(message(unix.AF_INET6, 1, netip.MustParseAddrPort("[::1]:6443"),
		netip.MustParseAddrPort("10.9.0.2:1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseSocket(b); ok &&
			(c.Local.Addr().Is4In6() || !c.Local.IsValid() || !c.Remote.IsValid()) {
			t.Errorf("accepted %+v", c)
		}
	})
}
