package health

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/test/testutil"
)

// TestListenCheck reads the kernel's listening sockets (F4: an API server that is bound to the
// node's address alone).
func TestListenCheck(t *testing.T) {
	testutil.NewHost(t)
	health := reporter.NewRegistry(nil)
	c := NewListenCheck(ListenConfig{
		VIPs: []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00::100")},
		Port: 6443, Reporter: health.Component("listen check"),
	})
	c.check()
	if why := health.NotReady(); why != "" {
		t.Errorf("without a listener: %s", why)
	}
	bind := func(network, address string) net.Listener {
		t.Helper()
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		c.check()
		return listener
	}
	one := bind("tcp", "10.0.0.1:6443")
	if why := health.NotReady(); !strings.Contains(why,
		"nothing listens on 10.0.0.100:6443, only on 10.0.0.1:6443") {
		t.Errorf("on the node's address: %q", why)
	}
	one.Close()
	four := bind("tcp4", "0.0.0.0:6443")
	if why := health.NotReady(); !strings.Contains(why, "nothing listens on [fd00::100]:6443") {
		t.Errorf("on IPv4 alone: %q", why)
	}
	four.Close()
	bind("tcp", "[::]:6443")
	if why := health.NotReady(); why != "" {
		t.Errorf("on every address: %q", why)
	}
}
