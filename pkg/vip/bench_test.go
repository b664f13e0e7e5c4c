package vip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

// BenchmarkSyncFake is the cost of 1000 addresses without the kernel's part: all are new, then
// none changes, then all are removed.
func BenchmarkSyncFake(b *testing.B) {
	clock := func() time.Duration { return time.Hour }
	ignore := func([]netip.Addr) (int, error) { return 0, nil }
	o, err := NewServiceOwner(ServiceOwnerConfig{
		Kernel: NewFake(clock), Clock: clock, DestroySockets: ignore,
	})
	if err != nil {
		b.Fatal(err)
	}
	want := many(1000, eth0)
	for b.Loop() {
		for _, list := range [][]Address{want, want, nil} {
			if err := o.Sync(assigned(list)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkApply writes 1000 IPv4 addresses again, to the fake and to the kernel.
func BenchmarkApply(b *testing.B) {
	measure := func(b *testing.B, k Kernel, index int) {
		changes := make([]Change, 1000)
		for i := range changes {
			a := Address{nth(i), index, "eth0"}
			changes[i] = Change{Address: a, Valid: time.Minute, Proto: ServiceProto}
		}
		for b.Loop() {
			for _, err := range k.Apply(changes) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("fake", func(b *testing.B) {
		measure(b, NewFake(func() time.Duration { return time.Hour }), 2)
	})
	b.Run("netlink", func(b *testing.B) {
		testutil.NewNetns(b)
		testutil.IP(b, "link add eth0 index 7 type veth peer name peer0")
		measure(b, Netlink(), 7)
	})
}

// BenchmarkUpdate refreshes one virtual IP on a host with 1000 addresses of Services.
func BenchmarkUpdate(b *testing.B) {
	clock := func() time.Duration { return time.Hour }
	k := NewFake(clock)
	for i := range 1000 {
		h := host("10.20.0.1/32", eth0, ServiceProto)
		h.Prefix = netip.PrefixFrom(nth(i), 32)
		k.Put(h)
	}
	o, err := New(Config{VIPs: []netip.Addr{vip4}, Kernel: k, Clock: clock})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := o.Update(eth0, clock()+10*time.Second); err != nil {
			b.Fatal(err)
		}
	}
}
