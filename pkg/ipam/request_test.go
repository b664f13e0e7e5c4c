package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// S4: an address has at most MaxSharers entries, and only a Service beyond that is refused.
func TestBoundsOfAnAddress(t *testing.T) {
	w := newWorld()
	a, b := netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("192.0.2.1")
	replay(t, w, "pool p 192.0.2.0/30")
	for i := range MaxSharers + 1 {
		service := ServiceKey(fmt.Sprintf("a/%03d", i))
		w.requests[service] = Request{Service: service, Namespace: "a", Families: []Family{IPv4},
			ShareKey: "k",
			Ports:    []Port{{"TCP", uint16(i + 1)}}}
	}
	got := w.plan()
	if len(got.Ledger[a]) != MaxSharers || len(got.Ledger[b]) != 1 {
		t.Errorf("%d and %d entries", len(got.Ledger[a]), len(got.Ledger[b]))
	}
	last := w.requests["a/256"]
	last.Addresses = []netip.Addr{a}
	w.requests["a/256"] = last
	got = w.plan()
	if no := got.Refused["a/256"]; no.Reason != LimitExceeded ||
		!strings.Contains(no.Message, "at most 256 Services with 1000 ports") || len(got.Refused) != 1 {
		t.Errorf("refused %v", got.Refused)
	}
}

func TestBoundsOfPorts(t *testing.T) {
	ports := func(from, n int) (list []Port) {
		for i := range n {
			list = append(list, Port{"TCP", uint16(from + i)})
		}
		return list
	}
	w := newWorld()
	replay(t, w, `
		pool p 192.0.2.0/28
		vip 192.0.2.9 6443`)
	put := func(service ServiceKey, ports []Port, asked string) {
		r := Request{Service: service, Namespace: "a", Families: []Family{IPv4},
			ShareKey: string(service[:1]),
			Ports:    ports}
		if asked != "" {
			r.Addresses = []netip.Addr{netip.MustParseAddr(asked)}
		}
		w.requests[service] = r
	}
	put("a/alone", ports(1, 20_000), "")
	put("b/1", ports(1, MaxPorts-1), "192.0.2.1")
	put("b/2", ports(30_000, 2), "192.0.2.1")
	put("b/3", ports(40_000, 1), "192.0.2.1")
	put("c/1", ports(20_001, MaxPorts), "192.0.2.9")
	put("c/2", ports(20_001, MaxPorts-1), "192.0.2.9")
	replay(t, w, `
		want a/alone 192.0.2.0
		want b/1 192.0.2.1
		want b/2 LimitExceeded
		want b/3 192.0.2.1
		want c/1 LimitExceeded
		want c/2 192.0.2.9`)
	put("b/3", ports(40_000, 2), "192.0.2.1") // it changed, so it has to leave
	replay(t, w, `
		want b/1 192.0.2.1
		want b/3 LimitExceeded`)
}

func TestShareKey(t *testing.T) {
	long := strings.Repeat("x", maxShareKey)
	for _, key := range []string{"", "k", "team-a/edge.v1_2:3", long} {
		if got := ShareKey(key); got != key {
			t.Errorf("%q is recorded as %q", key, got)
		}
	}
	seen := map[string]string{}
	for _, key := range []string{long + "x", long + "y", "a b", "ü", "a\"b"} {
		got := ShareKey(key)
		if !strings.HasPrefix(got, "sha256:") || len(got) != len("sha256:")+32 || got != ShareKey(key) {
			t.Errorf("%q is recorded as %q", key, got)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%q and %q are recorded as the same", key, other)
		}
		seen[got] = key
	}
	if hash := ShareKey(long + "x"); ShareKey(hash) != hash {
		t.Error("a recorded key is hashed again")
	}
}

func TestValidate(t *testing.T) {
	v4, v6 := []Family{IPv4}, []Family{IPv6}
	both := []Family{IPv6, IPv4}
	for name, c := range map[string]struct {
		families []Family
		ask      string
		want     Reason
	}{
		"no address":           {v4, "", ""},
		"one address":          {v4, "192.0.2.1", ""},
		"one of each family":   {both, "192.0.2.1 2001:db8::1", ""},
		"no family":            {nil, "", Malformed},
		"a family twice":       {[]Family{IPv4, IPv4}, "", Malformed},
		"three families":       {[]Family{IPv4, IPv6, IPv4}, "", Malformed},
		"another family":       {v6, "192.0.2.1", WrongFamily},
		"two of a family":      {v4, "192.0.2.1 192.0.2.2", Malformed},
		"an address twice":     {v4, "192.0.2.1 192.0.2.1", Malformed},
		"a zone":               {v6, "fe80::1%eth0", Malformed},
		"IPv4 in IPv6 form":    {v4, "::ffff:192.0.2.1", Malformed},
		"a link-local address": {v6, "fe80::1", ""},
	} {
		r := Request{Families: c.families}
		for _, text := range strings.Fields(c.ask) {
			r.Addresses = append(r.Addresses, netip.MustParseAddr(text))
		}
		var got Reason
		if no := r.validate(); no != nil {
			got = no.Reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	invalid := &Refusal{Malformed, "x"}
	if got := (&Request{Invalid: invalid}).validate(); got != invalid {
		t.Errorf("got %v", got)
	}
}

func TestTermsAreCompatible(t *testing.T) {
	cluster, local := terms{selector: "x"}, terms{local: true, selector: "x"}
	for name, c := range map[string]struct {
		a, b terms
		want bool
	}{
		"Cluster":                    {cluster, terms{selector: "y"}, true},
		"Local, the same pods":       {local, local, true},
		"Local and Cluster":          {local, cluster, true}, // of the same pods
		"Local, other pods":          {local, terms{local: true, selector: "y"}, false},
		"Local, unknown pods":        {terms{local: true}, terms{local: true}, false},
		"Cluster next to other pods": {terms{selector: "y"}, local, false},
	} {
		if c.a.compatible(c.b) != c.want || c.b.compatible(c.a) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
	if got := (terms{true, "x", "eth1"}).String(); got != "Local/x/eth1" {
		t.Errorf("the ledger records %q", got)
	}
}

func TestSortedPorts(t *testing.T) {
	got := sorted([]Port{{"UDP", 53}, {"TCP", 443}, {"TCP", 80}, {"TCP", 443}})
	if want := []Port{{"TCP", 80}, {"TCP", 443}, {"UDP", 53}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if text := join(got, ","); text != "TCP 80,TCP 443,UDP 53" {
		t.Errorf("text %q", text)
	}
}

// Refusals name the field of the request, or describe it in words.
func TestFields(t *testing.T) {
	named := Fields{Addresses: "annotation A", Pool: "annotation P", ShareKey: "annotation K"}
	for got, want := range map[string]string{
		named.addresses(): "annotation A", named.pool(): "annotation P", named.shareKey(): "annotation K",
		Fields{}.addresses(): "the requested address", Fields{}.pool(): "the requested pool",
		Fields{}.shareKey(): "the share key",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	for text, want := range map[string]Family{"192.0.2.1": IPv4, "2001:db8::1": IPv6} {
		if got := FamilyOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if IPv4.String() != "IPv4" || IPv6.String() != "IPv6" {
		t.Errorf("the families are %s and %s", IPv4, IPv6)
	}
}

// FuzzShareKey: a recorded key is short, has plain characters, and is recorded as itself.
func FuzzShareKey(f *testing.F) {
	for _, text := range []string{"", "k", "a b", "sha256:0", strings.Repeat("x", 64)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key := ShareKey(text)
		if len(key) > maxShareKey || ShareKey(key) != key || (key == "") != (text == "") {
			t.Fatalf("%q is recorded as %q", text, key)
		}
	})
}
