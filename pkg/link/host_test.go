package link

import (
	"net"
	"slices"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

func TestHostMACsAndLinkLocal(t *testing.T) {
	err := testutil.NewNetns(t).Do(func() error {
		testutil.IP(t, "link add eth0 index 7 address 02:00:00:00:00:07 type veth peer name peer0 "+
			"address 02:00:00:00:00:08")
		testutil.IP(t, "link set eth0 addrgenmode none")
		macs, err := HostMACs()
		if err != nil {
			return err
		}
		for _, want := range []string{"02:00:00:00:00:07", "02:00:00:00:00:08"} {
			if !slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return m.String() == want }) {
				t.Errorf("%s is not among %v", want, macs)
			}
		}
		if slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return len(m) != 6 }) {
			t.Errorf("not all are Ethernet addresses: %v", macs)
		}
		testutil.IP(t, "addr add 2001:db8::7/64 dev eth0 nodad")
		if a := LinkLocal(7); a.IsValid() {
			t.Errorf("link-local address %v of a link without one", a)
		}
		testutil.IP(t, "addr add fe80::77/64 dev eth0 nodad")
		if a := LinkLocal(7); a.String() != "fe80::77" {
			t.Errorf("link-local address %v, want fe80::77", a)
		}
		if a := LinkLocal(99); a.IsValid() {
			t.Errorf("link-local address %v of a link that does not exist", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
