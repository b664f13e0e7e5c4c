package ipam

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// sharerOf is a newcomer with a request as transcripts write it.
func sharerOf(t *testing.T, service ServiceKey, words string) sharer {
	t.Helper()
	r := readRequest(t, service, strings.Fields(words))
	return newPendingRequest(&r).newcomer()
}

// The check of a newcomer next to one sharer.
func TestAllocationCheck(t *testing.T) {
	for name, c := range map[string]struct {
		first, second string
		shared        bool // a Shared pool has the address
		want          Reason
	}{
		"the same key":                    {"80 key=k", "81 key=k", false, ""},
		"the same port":                   {"80 key=k", "80 key=k", false, PortConflict},
		"the same number, another proto":  {"80 key=k", "UDP/80 key=k", false, ""},
		"one of several ports":            {"80 81 key=k", "81 82 key=k", false, PortConflict},
		"another key":                     {"80 key=k", "81 key=l", false, ShareKeyMismatch},
		"a key next to none":              {"80", "81 key=k", false, ShareKeyMismatch},
		"no key next to one":              {"80 key=k", "81", false, AddressTaken},
		"no key next to one, shared pool": {"80 key=k", "81", true, AddressTaken},
		"no keys":                         {"80", "81", false, AddressTaken},
		"no keys in a shared pool":        {"80", "81", true, ""},
		"an invalid holder":               {"80 key=k invalid", "81 key=k", false, AddressTaken},
		"Local next to Cluster":           {"80 key=k", "81 key=k local pods=x", false, PolicyMismatch},
		"Cluster next to Local": {"80 key=k local pods=x", "81 key=k pods=y", false,
			PolicyMismatch},
		"Local with the same pods":  {"80 key=k local pods=x", "81 key=k local pods=x", false, ""},
		"Local with unknown pods":   {"80 key=k local", "81 key=k local", false, PolicyMismatch},
		"another interface":         {"80 key=k", "81 key=k link=eth1", false, PolicyMismatch},
		"the same interface":        {"80 key=k link=eth1", "81 key=k link=eth1", false, ""},
		"any interface next to one": {"80 key=k link=eth1", "81 key=k", false, ""},
	} {
		al := &allocation{}
		al.add(sharerOf(t, "a/1", c.first))
		got := al.check(sharerOf(t, "a/2", c.second), func() bool { return c.shared })
		if got.reason != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
		if got.reason != "" && got.usedBy != "a/1" {
			t.Errorf("%s: it is used by %q", name, got.usedBy)
		}
	}
}

// What the ledger records together stays together, unless one of them changed.
func TestRetained(t *testing.T) {
	web := Entry{Service: "a/1", Key: "k", Ports: []Port{{"TCP", 80}}, Terms: "Cluster//"}
	unknown := web
	unknown.Terms = ""
	type flags struct{ sameKey, sameTerms, unchanged bool }
	for name, c := range map[string]struct {
		request string
		entry   Entry
		several bool
		want    flags
	}{
		"as recorded":          {"80 key=k", web, true, flags{true, true, true}},
		"alone":                {"80 key=k", web, false, flags{false, false, true}},
		"fewer ports":          {"key=k", web, true, flags{true, true, true}},
		"another port":         {"81 key=k", web, true, flags{true, true, false}},
		"another key":          {"80 key=l", web, true, flags{false, true, false}},
		"no key":               {"80", web, true, flags{false, true, false}},
		"another policy":       {"80 key=k local pods=x", web, true, flags{true, false, false}},
		"another interface":    {"80 key=k link=eth1", web, true, flags{true, false, false}},
		"unknown terms":        {"80 key=k local", unknown, true, flags{true, true, true}},
		"an invalid request":   {"invalid", web, true, flags{true, true, true}},
		"invalid, with a port": {"81 invalid", web, true, flags{true, true, false}},
	} {
		r := readRequest(t, "a/1", strings.Fields(c.request))
		s := newPendingRequest(&r).retained(c.entry, c.several)
		if got := (flags{s.sameKey, s.sameTerms, s.unchanged}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Without the first sharer, its ports and namespace are free.
func TestAllocationWithout(t *testing.T) {
	first, second := sharerOf(t, "a/1", "80 key=k"), sharerOf(t, "b/2", "81 key=k")
	al := &allocation{}
	al.add(first)
	al.add(second)
	rest := al.without(first.pendingRequest)
	if len(rest.sharers) != 1 || !slices.Equal(rest.namespaces, []string{"b"}) {
		t.Fatalf("the rest is %+v", rest)
	}
	if no := rest.check(sharerOf(t, "a/3", "80 key=k"), nil); no.reason != "" {
		t.Errorf("port 80 is not free: %+v", no)
	}
	if rest.without(second.pendingRequest) != nil {
		t.Error("an allocation without sharers is left")
	}
}

// The first of several entries that the ledger records is the one that changed nothing.
func TestSharersOf(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	byService := map[ServiceKey]*pendingRequest{}
	for service, words := range map[ServiceKey]string{
		"a/1": "81 key=k", "a/2": "82 key=k", "a/3": "83 key=k", "a/6": "v6 key=k",
	} {
		r := readRequest(t, service, strings.Fields(words))
		byService[service] = newPendingRequest(&r)
	}
	entries := []Entry{
		{Service: "a/1", Key: "k", Ports: []Port{{"TCP", 80}}}, // its port changed
		{Service: "a/2", Key: "k", Ports: []Port{{"TCP", 82}}},
		{Service: "a/2", Key: "k"}, // twice
		{Service: "a/3", Key: "k", Ports: []Port{{"TCP", 83}}},
		{Service: "a/6", Key: "k"}, // it requests no IPv4
		{Service: "z/z"},           // it has no request
		{Service: ControlPlane},
	}
	var got []ServiceKey
	for _, s := range sharersOf(a, entries, byService) {
		got = append(got, s.Service)
	}
	if want := []ServiceKey{"a/2", "a/3", "a/1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRemedies(t *testing.T) {
	fields := Fields{ShareKey: "annotation K"}
	for want, c := range map[string]conflict{
		"change the port": {reason: PortConflict},
		"":                {reason: SubnetAddress},
		"correct the request of that Service first": {reason: AddressTaken, invalid: true},
		"set annotation K to share it":              {reason: AddressTaken, anyKey: true},

		"set annotation K of both to the same value": {reason: ShareKeyMismatch},

		"to share it, both Services need externalTrafficPolicy Cluster or the same selector, " +
			"and the same interface; else request another address": {reason: PolicyMismatch},
		"at most 256 Services with 1000 ports in all share an address: request another address": {
			reason: LimitExceeded},
	} {
		switch {
		case want == "":
			want = "request another address"
		case !strings.HasSuffix(want, "request another address"):
			want += ", or request another address"
		}
		if got := c.remedy(fields); got != want {
			t.Errorf("%s: %q, want %q", c.reason, got, want)
		}
	}
}

// A release is not reported next to a refusal of the same address for the same reason.
func TestRefusalsOfAClaim(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	r := newPendingRequest(&Request{Families: []Family{IPv4}})
	r.has[IPv4] = b
	refused, gone := refuse(AddressTaken, "refused"), refuse(AddressTaken, "released")
	warning, other := refuse(NodeAddress, "warning"), refuse(PortConflict, "other")
	r.refuse(a, refused)
	r.released = []rejection{{a, gone}, {a, other}}
	r.warned = []rejection{{b, warning}, {a, warning}} // of a it has no more
	var got []string
	for _, no := range r.refusals() {
		got = append(got, no.Message)
	}
	if want := []string{"refused", "warning", "other"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
