package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

var errBroken = errors.New("broken")

func TestIsNetwork(t *testing.T) {
	for text, want := range map[string]bool{
		"10.9.0.0/24": true, "10.9.0.0/31": true, "2001:db8::/64": true, "fd00::/8": true,
		"10.9.0.1/32": false, "2001:db8::1/128": false, "0.0.0.0/0": false, "::/0": false,
		"fe80::/64": false, "169.254.0.0/16": false,
	} {
		if got := isNetwork(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %v; want %v", text, got, want)
		}
	}
	if isNetwork(netip.Prefix{}) {
		t.Error("the zero prefix is a network")
	}
}

func TestOnLinkRoutes(t *testing.T) {
	route := func(text string, index int) netlink.Route {
		_, dst, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Route{Dst: dst, LinkIndex: index}
	}
	gateway := route("10.1.0.0/16", 2)
	gateway.Gw = net.IPv4(10, 9, 0, 1)
	multipath := route("10.2.0.0/16", 2)
	multipath.MultiPath = []*netlink.NexthopInfo{{LinkIndex: 2}, {LinkIndex: 3}}
	got := onLinkRoutes([]netlink.Route{
		gateway, multipath, {LinkIndex: 2}, route("10.3.0.0/16", 0), route("10.4.0.1/32", 2),
		route("fe80::/64", 2), route("10.5.0.0/16", 3), route("2001:db8::/32", 4),
	})
	want := []prefix{
		{netip.MustParsePrefix("10.5.0.0/16"), 3}, {netip.MustParsePrefix("2001:db8::/32"), 4},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v; want %v", got, want)
	}
}

// The order of candidates is strict and total, whatever the candidates are.
func TestBestIsSortedAndUnique(t *testing.T) {
	for seed := uint64(0); seed < 200; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		var c choices
		for range rng.IntN(30) {
			c.list = append(c.list, Choice{
				Link:  Link{Index: 1 + rng.IntN(6), Usable: rng.IntN(2) == 0},
				Basis: ByDefaultRoute + Basis(rng.IntN(4)), Bits: 8 * rng.IntN(4),
			})
		}
		links := map[int]bool{}
		for _, one := range c.list {
			links[one.Index] = true
		}
		got, err := c.best()
		if err != nil || len(got) != len(links) {
			t.Fatalf("seed %d: %d of %d links, %v", seed, len(got), len(links), err)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Better(got[i-1]) || got[i].Index == got[i-1].Index {
				t.Fatalf("seed %d: %+v after %+v", seed, got[i], got[i-1])
			}
		}
		for _, one := range c.list {
			for _, best := range got {
				if best.Index == one.Index && one.Better(best) {
					t.Fatalf("seed %d: %+v is better than %+v", seed, one, best)
				}
			}
		}
	}
	broken := choices{err: errBroken}
	if _, err := broken.best(); !errors.Is(err, errBroken) {
		t.Errorf("best hides the error: %v", err)
	}
}

func TestBasisString(t *testing.T) {
	seen := map[string]bool{}
	for b := Basis(0); b <= ByName; b++ {
		if text := b.String(); text == "" || seen[text] {
			t.Errorf("basis %d: %q is empty or not unique", b, text)
		} else {
			seen[text] = true
		}
	}
}

func TestDefaultLink(t *testing.T) {
	_, any4, _ := net.ParseCIDR("0.0.0.0/0")
	_, some4, _ := net.ParseCIDR("10.0.0.0/8")
	v4 := func(index, metric int) netlink.Route {
		return netlink.Route{Family: netlink.FAMILY_V4, LinkIndex: index, Priority: metric, Dst: any4}
	}
	v6 := netlink.Route{Family: netlink.FAMILY_V6, LinkIndex: 6} // without Dst: the default, too
	multipath := v4(0, 5)
	multipath.MultiPath = []*netlink.NexthopInfo{{LinkIndex: 8}, {LinkIndex: 9}}
	for _, test := range []struct {
		desc    string
		routes  []netlink.Route
		family4 bool
		want    int
	}{
		{"none", nil, true, 0},
		{"one", []netlink.Route{v4(2, 100)}, true, 2},
		{"lowest metric", []netlink.Route{v4(2, 100), v4(3, 50), v4(4, 200)}, true, 3},
		{"first of equal metrics", []netlink.Route{v4(4, 100), v4(2, 100)}, true, 4},
		{"other family", []netlink.Route{v6}, true, 0},
		{"IPv6", []netlink.Route{v4(2, 0), v6}, false, 6},
		{"first hop of many", []netlink.Route{v4(2, 100), multipath}, true, 8},
		{"without a link", []netlink.Route{v4(0, 1), v4(2, 100)}, true, 2},
		{"no default", []netlink.Route{{Family: netlink.FAMILY_V4, LinkIndex: 2, Dst: some4}}, true, 0},
	} {
		got, ok := defaultLink(test.routes, test.family4)
		if got != test.want || ok != (test.want != 0) {
			t.Errorf("%s: link %d, %v; want %d", test.desc, got, ok, test.want)
		}
	}
}

func TestContainsAny(t *testing.T) {
	p := netip.MustParsePrefix("10.9.0.0/24")
	for desc, test := range map[string]struct {
		vips []netip.Addr
		want bool
	}{
		"none": {nil, false}, "outside": {addrs("10.8.0.1", "2001:db8::1"), false},
		"second": {addrs("10.8.0.1", "10.9.0.1"), true}, "mapped": {addrs("::ffff:10.9.0.1"), true},
	} {
		if got := containsAny(p, test.vips); got != test.want {
			t.Errorf("%s: %v; want %v", desc, got, test.want)
		}
	}
}

// A better basis outweighs any prefix length, and equal reasons are not better.
func TestBetter(t *testing.T) {
	for b := ByDefaultRoute; b < ByName; b++ {
		worse, better := Choice{Basis: b, Bits: 128}, Choice{Basis: b + 1}
		if !better.Better(worse) || worse.Better(better) || better.Better(better) {
			t.Errorf("%s and %s are in the wrong order", better.Basis, worse.Basis)
		}
	}
}
