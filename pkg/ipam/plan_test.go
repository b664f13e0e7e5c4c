package ipam

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// The stories are in testdata, each below its heading; see world for the words.
func TestStories(t *testing.T) {
	for _, name := range []string{"pools", "asked", "sharing", "families", "bad"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			stories := strings.Split("\n"+string(text), "\n== ")[1:]
			if len(stories) == 0 {
				t.Fatal("there are no stories")
			}
			for _, story := range stories {
				title, lines, _ := strings.Cut(story, "\n")
				t.Run(title, func(t *testing.T) { tell(t, newWorld(), lines) })
			}
		})
	}
}

// Every refusal names the object, the field and what to do, as an Event shows nothing else.
func TestRefusalsSayWhatToDo(t *testing.T) {
	w := newWorld()
	result := tell(t, w, `
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
		want a/a 192.0.2.1`)
	for owner, want := range map[Owner]string{
		"a/b": "the address asked for: 192.0.2.1 belongs to a/a: give both the same value in the share key, or use another address",
		"a/c": "the address asked for: 192.0.2.8 belongs to node w1: use another address",
		"a/d": "the address asked for: 192.0.2.9 belongs to the control plane: give a value in the share key to share it, or use another address",
		"a/e": "the address asked for: TCP 6443 at 192.0.2.9 belongs to the control plane: change the port, or use another address",
		"a/f": "the address asked for: 203.0.113.9 is not in pool p, q, r, or avoided there: use another address, or add it to a pool",
		"a/g": "no pool gives IPv6 addresses to namespace a: make one, or leave IPv6 out of spec.ipFamilies",
		"a/h": "the pool asked for: pool q is only for b: use another, or add the namespace there",
		"a/i": `the pool asked for: there is no pool "none": correct the name, or make the pool`,
		"a/j": "the pool asked for: pool p has no IPv6 addresses: add some there, or leave IPv6 out of spec.ipFamilies",
		"a/k": "the address asked for: 192.0.2.0 is the second IPv4 address: give at most one of each family",
		"a/m": "no IPv4 address is free in pool p: add addresses, or delete Services that need none",
		"a/n": "the address asked for: 2001:db8::1 is in pool q, which is not for namespace a: use an address of another pool, or add the namespace there",
		"a/o": "annotation is malformed",
	} {
		if got := result.Refused[owner].Message; got != "service "+string(owner)+": "+want {
			t.Errorf("%s is told\n%s, not\n%s", owner, got, want)
		}
	}
	w.requests["a/l"] = Request{Owner: "a/l", Namespace: "a", Families: []Family{IPv4}, Pool: "x", Fields: Fields{Pool: "annotation P"}}
	result = tell(t, w, `
		vip 192.0.2.0 6443
		want a/l UnknownPool`)
	const lost = `service a/l: annotation P: there is no pool "x": correct the name, or make the pool; ` +
		"it had to give up its address, as 192.0.2.0 belongs to the control plane: give a value in the share key to share it, or use another address"
	if got := result.Refused["a/l"].Message; got != lost {
		t.Errorf("a/l is told\n%s, not\n%s", got, lost)
	}
	const kept = "192.0.2.1 belongs to node w3, and clients may not reach it: use another address; it has 192.0.2.1 now"
	delete(w.reserved, netip.MustParseAddr("192.0.2.0"))
	delete(w.requests, "a/m")
	result = tell(t, w, `
		service a/a 80
		node 192.0.2.1 w3
		want a/a 192.0.2.1 NodeAddress`)
	if got := result.Refused["a/a"].Message; !strings.HasSuffix(got, kept) {
		t.Errorf("a/a is told\n%s, not\n%s", got, kept)
	}
}
