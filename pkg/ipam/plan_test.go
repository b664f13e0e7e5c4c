package ipam

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// The transcripts are in testdata, each below its heading. See world for their language.
func TestTranscripts(t *testing.T) {
	for _, name := range []string{"pools", "requested", "sharing", "families", "invalid"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			transcripts := strings.Split("\n"+string(text), "\n== ")[1:]
			if len(transcripts) == 0 {
				t.Fatal("there are no transcripts")
			}
			for _, transcript := range transcripts {
				title, lines, _ := strings.Cut(transcript, "\n")
				t.Run(title, func(t *testing.T) { replay(t, newWorld(), lines) })
			}
		})
	}
}

// Every refusal has the object, the field and the remedy, as an Event shows nothing else.
func TestRefusalsHaveARemedy(t *testing.T) {
	result := replay(t, newWorld(), `
		pool p 192.0.2.0-192.0.2.1
		pool q 2001:db8::1 ns=b
		node 192.0.2.8 w1
		pool r 192.0.2.8-192.0.2.9 manual
		vip 192.0.2.9 6443
		service a/a 80 ask=192.0.2.1
		service a/b 80 ask=192.0.2.1
		service a/c 80 ask=192.0.2.8
		service a/d 80 ask=192.0.2.9
		service a/e 6443 ask=192.0.2.9 key=k
		service a/f 80 ask=203.0.113.9
		service a/g v6
		service a/h v6 pool=q
		service a/i pool=none
		service a/j v6 pool=p
		service a/k ask=192.0.2.1,192.0.2.0
		service a/l
		service a/m
		service a/n v6 ask=2001:db8::1
		service a/o invalid
		service a/p ask=2001:db8::7
		want a/a 192.0.2.1`)
	const addr, pool = "the requested address: ", "the requested pool: "
	for service, want := range map[ServiceKey]string{
		"a/b": addr + "192.0.2.1 belongs to a/a: " +
			"set the share key of both to the same value, or request another address",
		"a/c": addr + "192.0.2.8 belongs to node w1: request another address",
		"a/d": addr + "192.0.2.9 belongs to the control plane: " +
			"set the share key to share it, or request another address",
		"a/e": addr + "TCP 6443 at 192.0.2.9 belongs to the control plane: " +
			"change the port, or request another address",
		"a/f": addr + "203.0.113.9 is not in pool p, q, r, or avoided there: " +
			"request another address, or add it to a pool",
		"a/g": "no pool has IPv6 addresses for namespace a: create one, or remove IPv6 from " +
			"spec.ipFamilies",
		"a/h": pool + "pool q allows only b: request another pool, or add the namespace there",
		"a/i": pool + `there is no pool "none": correct the name, or create the pool`,
		"a/j": pool + "pool p has no IPv6 addresses: add some, or remove IPv6 from spec.ipFamilies",
		"a/k": addr + "192.0.2.0 is the second IPv4 address: request at most one of each family",
		"a/m": "no IPv4 address is free in pool p: add addresses, or delete unused Services",
		"a/n": addr + "2001:db8::1 is in pool q, which does not allow namespace a: " +
			"request an address of another pool, or add the namespace there",
		"a/o": "annotation is malformed",
		"a/p": addr + "2001:db8::7 is IPv6, which is not a family of the Service: " +
			"correct the address or spec.ipFamilies",
	} {
		if got := result.Refused[service].Message; got != "service "+string(service)+": "+want {
			t.Errorf("%s: message\n%s, want\n%s", service, got, want)
		}
	}
}

// A Service that loses an address to the VIP, and one that keeps the address of a node.
func TestRefusalsOfAssignedAddresses(t *testing.T) {
	w := newWorld()
	replay(t, w, `
		pool p 192.0.2.0-192.0.2.1
		service a/a 80 ask=192.0.2.1
		service a/l
		want a/l 192.0.2.0`)
	w.requests["a/l"] = Request{
		Service: "a/l", Namespace: "a", Families: []Family{IPv4}, Pool: "x",
		Fields: Fields{Pool: "annotation P"},
	}
	result := replay(t, w, `
		vip 192.0.2.0 6443
		want a/l UnknownPool`)
	const lost = `service a/l: annotation P: there is no pool "x": ` +
		`correct the name, or create the pool; ` +
		"its address was released, as 192.0.2.0 belongs to the control plane: " +
		"set the share key to share it, or request another address"
	if got := result.Refused["a/l"].Message; got != lost {
		t.Errorf("a/l: message\n%s, want\n%s", got, lost)
	}
	const kept = "192.0.2.1 belongs to node w3, and clients may not reach it: " +
		"request another address; it has 192.0.2.1 now"
	delete(w.reserved, netip.MustParseAddr("192.0.2.0"))
	result = replay(t, w, `
		service a/a 80
		node 192.0.2.1 w3
		want a/a 192.0.2.1 NodeAddress`)
	if got := result.Refused["a/a"].Message; !strings.HasSuffix(got, kept) {
		t.Errorf("a/a: message\n%s, want\n%s", got, kept)
	}
}

// S9: the refusal of an address outside of pools has the network or the problem of the address.
func TestRefusalsOutsideOfPools(t *testing.T) {
	result := replay(t, newWorld(), `
		network 10.96.0.0/12
		service a/a ask=10.96.0.10 anypool
		service a/b ask=127.0.0.1 anypool
		service a/c ask=192.0.2.1 anypool
		service a/d ask=192.0.2.2
		want a/c 192.0.2.1`)
	for service, want := range map[ServiceKey]string{
		"a/a": "10.96.0.10 is an address of the cluster: request another address",
		"a/b": "127.0.0.1 is a loopback address: request another address",
		"a/d": "no pool has 192.0.2.2: create one",
	} {
		if got := result.Refused[service].Message; !strings.HasSuffix(got, want) {
			t.Errorf("%s: message %q, want %q", service, got, want)
		}
	}
	if no, refused := result.Refused["a/c"]; refused {
		t.Errorf("a/c is refused: %v", no)
	}
}

// Two refusals with the same message are reported once, and the addresses follow.
func TestSummarize(t *testing.T) {
	first, second := refuse(NoPool, "one"), refuse(PoolExhausted, "two")
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	got := summarize("a/web", []*Refusal{first, second, first}, addresses)
	want := Refusal{NoPool, "service a/web: one; two; it has 192.0.2.1 and 2001:db8::1 now"}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPoolNames(t *testing.T) {
	var cursors []*poolCursor
	for _, name := range strings.Fields("a b c d e") {
		cursors = append(cursors, newPoolCursor(Pool{Name: name}))
	}
	if got := poolNames(cursors); got != "pool a, b, c, d, e" {
		t.Errorf("got %q", got)
	}
	if got := poolNames(append(cursors, cursors[0])); got != "pool a, b, c, d, e and others" {
		t.Errorf("got %q", got)
	}
}
