package netlab

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// TestSYNSampler: a host that accepts connections is seen, whether it answers ARP requests or not.
// Two are counted while they can reach each other.
func TestSYNSampler(t *testing.T) {
	for _, vip := range []netip.Addr{vip4, vip6} {
		l, h := newLab(t)
		a, b := h["a"], h["b"]
		target := netip.AddrPortFrom(vip, 6443)
		listen := func(host *Host) net.Listener {
			t.Helper()
			var accept net.Listener
			must(t, host.AddAddr(netip.PrefixFrom(vip, vip.BitLen())))
			must(t, host.Do(func() (err error) {
				accept, err = net.Listen("tcp", target.String())
				return err
			}))
			t.Cleanup(func() { accept.Close() })
			return accept
		}
		first := listen(a)
		s, err := l.SampleSYN(h["c"], target, a, b)
		must(t, err)
		since := func(from time.Time, what string, ok func(r SYNReport) bool) {
			t.Helper()
			wait.Eventually(t, patience, what, func() bool { return ok(s.Window(from, time.Time{})) })
		}
		began := time.Now()
		since(began, "a alone", func(r SYNReport) bool {
			return r.Accepted["a"] > 5 && r.Accepted["b"] == 0 && r.Two == 0
		})
		listen(b)
		both := time.Now()
		since(both, "two", func(r SYNReport) bool {
			return r.Accepted["a"] > 5 && r.Two > 5 && r.Longest >= 5*SYNEvery
		})
		must(t, l.Partition(a, b))
		cut := time.Now().Add(SYNEvery)
		since(cut, "two that cannot reach each other", func(r SYNReport) bool {
			return r.Accepted["a"] > 5 && r.Accepted["b"] > 5 && r.Two == 0
		})
		must(t, first.Close())
		closed := time.Now().Add(SYNEvery)
		since(closed, "b alone", func(r SYNReport) bool {
			return r.Accepted["a"] == 0 && r.Accepted["b"] > 5
		})
		must(t, s.Stop())
	}
}

func TestSYNSamplerRefusesWhatItCannotCount(t *testing.T) {
	l, h := newLab(t)
	if _, err := l.SampleSYN(h["a"], netip.AddrPortFrom(vip4, 1)); err == nil {
		t.Error("no host is accepted")
	}
}
