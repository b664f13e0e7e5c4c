package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/netaddr"
)

// world is a cluster as Plan sees it. A transcript changes it line by line and states the outcome:
//
//	pool NAME RANGE... [ns=a,b] [manual] [descending] [shared] [avoid]     or: pool NAME gone
//	node ADDRESS NAME             the address is that of a node
//	subnet PREFIX                 nodes have this prefix on a link
//	network PREFIX                the cluster uses the prefix itself
//	vip ADDRESS PORT              the address is the VIP
//	service NS/NAME [v4|v6|v6,v4] [port...] [ask=A,B] [pool=P] [key=K] [require] [anypool] [local]
//	        [pods=X] [link=L] [invalid]
//	service NS/NAME gone
//	want NS/NAME [ADDRESS...] [REASON]     after a Plan from the ledger of the one before
//	ledger ADDRESS NS/NAME...     an edit of the ledger by hand
type world struct {
	ledger   Ledger
	pools    map[string]Pool
	reserved map[netip.Addr]Reservation
	networks []Network
	requests map[ServiceKey]Request
}

func newWorld() *world {
	return &world{ledger: Ledger{}, pools: map[string]Pool{}, reserved: map[netip.Addr]Reservation{},
		requests: map[ServiceKey]Request{}}
}

func (w *world) plan() Result {
	r := Plan(w.ledger, slices.Collect(maps.Values(w.pools)),
		Reserved{Addresses: w.reserved, Networks: w.networks}, slices.Collect(maps.Values(w.requests)))
	w.ledger = r.Ledger
	return r
}

// replay executes a transcript and returns its last Result.
func replay(t *testing.T, w *world, transcript string) Result {
	t.Helper()
	var result Result
	changed := true
	for line := range strings.Lines(transcript) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] != "want" {
			w.change(t, words)
			changed = true
			continue
		}
		if changed {
			result, changed = w.plan(), false
		}
		check(t, result, ServiceKey(words[1]), strings.Join(words[2:], " "))
	}
	return result
}

func check(t *testing.T, r Result, service ServiceKey, want string) {
	t.Helper()
	var got []string
	for _, a := range r.Assigned[service] {
		got = append(got, a.String())
	}
	if no, refused := r.Refused[service]; refused {
		got = append(got, string(no.Reason))
	}
	if text := strings.Join(got, " "); text != want {
		t.Errorf("%s: got %q, want %q; %s", service, text, want, r.Refused[service].Message)
	}
}

func (w *world) change(t *testing.T, words []string) {
	t.Helper()
	switch name := words[1]; words[0] {
	case "pool":
		if delete(w.pools, name); words[2] != "gone" {
			w.pools[name] = readPool(t, name, words[2:])
		}
	case "service":
		if delete(w.requests, ServiceKey(name)); !slices.Contains(words, "gone") {
			w.requests[ServiceKey(name)] = readRequest(t, ServiceKey(name), words[2:])
		}
	case "node":
		w.reserved[netip.MustParseAddr(name)] = Reservation{UsedBy: "node " + words[2]}
	case "subnet":
		for a, what := range netaddr.SubnetAddresses(netip.MustParsePrefix(name)) {
			w.reserved[a] = Reservation{UsedBy: "subnet " + name + " (" + what + ")", Reason: SubnetAddress}
		}
	case "network":
		w.networks = append(w.networks, Network{netip.MustParsePrefix(name), "the cluster"})
	case "vip":
		w.reserved[netip.MustParseAddr(name)] = Reservation{UsedBy: "the control plane",
			Service: ControlPlane, Ports: []Port{readPort(t, words[2])}}
	case "ledger":
		w.ledger[netip.MustParseAddr(name)] = nil
		for _, service := range words[2:] {
			w.ledger[netip.MustParseAddr(name)] = append(w.ledger[netip.MustParseAddr(name)],
				Entry{Service: ServiceKey(service)})
		}
	default:
		t.Fatalf("unknown line %q", words)
	}
}

func readPool(t *testing.T, name string, words []string) Pool {
	t.Helper()
	p := Pool{Name: name}
	for _, word := range words {
		option, value, _ := strings.Cut(word, "=")
		switch option {
		case "ns":
			p.Namespaces = strings.Split(value, ",")
		case "manual":
			p.Manual = true
		case "descending":
			p.Descending = true
		case "shared":
			p.Shared = true
		case "avoid":
			p.AvoidBuggyIPs = true
		default:
			r, err := ParseRange(word)
			if err != nil {
				t.Fatal(err)
			}
			p.Ranges = append(p.Ranges, r)
		}
	}
	return p
}

func readRequest(t *testing.T, service ServiceKey, words []string) Request {
	t.Helper()
	namespace, _, _ := strings.Cut(string(service), "/")
	r := Request{Service: service, Namespace: namespace, Families: []Family{IPv4}}
	for _, word := range words {
		option, value, _ := strings.Cut(word, "=")
		switch option {
		case "v4", "v6", "v4,v6", "v6,v4", "v4,v4", "none":
			r.Families = nil
			for f := range strings.SplitSeq(option, ",") {
				r.Families = append(r.Families, map[string][]Family{"v4": {IPv4}, "v6": {IPv6}}[f]...)
			}
		case "ask":
			for a := range strings.SplitSeq(value, ",") {
				r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
			}
		case "status":
			for a := range strings.SplitSeq(value, ",") {
				r.Previous = append(r.Previous, netip.MustParseAddr(a))
			}
		case "pool":
			r.Pool = value
		case "key":
			r.ShareKey = value
		case "local":
			r.Local = true
		case "pods":
			r.Selector = value
		case "link":
			r.Link = value
		case "require":
			r.Require = true
		case "anypool":
			r.AnyPool = true
		case "invalid":
			r.Invalid = &Refusal{Malformed, fmt.Sprintf("service %s: annotation is malformed", service)}
		default:
			r.Ports = append(r.Ports, readPort(t, word))
		}
	}
	return r
}

// readPort reads "80", which is TCP, or "UDP/80".
func readPort(t *testing.T, text string) Port {
	t.Helper()
	protocol, number, found := strings.Cut(text, "/")
	if !found {
		protocol, number = "TCP", text
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		t.Fatalf("invalid port %q", text)
	}
	return Port{protocol, uint16(n)}
}
