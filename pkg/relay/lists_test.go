package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

func TestEncode(t *testing.T) {
	many := manyFlows(300)
	mixed := Flow{VIP: vips[0], Remote: netip.MustParseAddrPort("[2001:db8::1]:80"), Port: port}
	for _, flows := range [][]Flow{
		nil, many[:1], many, slices.Concat(many, many[:5]), append(slices.Clone(many), mixed),
		manyFlows(3 * maxListed),
	} {
		var got []Flow
		payloads := Encode(foreignHost.MAC, flows)
		for _, p := range payloads {
			mac, part, err := decode(p)
			if err != nil || !slices.Equal(mac, foreignHost.MAC) || len(p) > quorum.MaxPayload {
				t.Fatalf("%d bytes: %v, %v", len(p), mac, err)
			}
			got = append(got, part...)
		}
		want := slices.DeleteFunc(ordered(flows), func(f Flow) bool { return f == mixed })
		if len(payloads) == 0 || !slices.Equal(got, want) || len(got) > maxListed {
			t.Errorf("%d flows: %d payloads with %d", len(want), len(payloads), len(got))
		}
	}
	if got := Encode(nil, many); got != nil {
		t.Errorf("without a hardware address: %q", got)
	}
}

func TestBadPayloads(t *testing.T) {
	good := Encode(foreignHost.MAC, manyFlows(3))
	bad := []string{
		"", good[0][:3], good[0][:len(good[0])-1], good[0] + "x", good[1][:20],
		"\x01" + good[0][1:], good[0][:6] + "\x05" + good[0][7:], good[0][:6] + "\x00" + good[0][7:],
		good[0] + strings.Repeat(good[0][11:19], quorum.MaxPayload/8),
	}
	for _, p := range bad {
		var l Lists
		if err := l.Note("a", 1, p, 0); err == nil || len(l.Hosts(0)) > 0 {
			t.Errorf("accepted %q", p)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range append(Encode(foreignHost.MAC, manyFlows(3)), Encode(foreignHost.MAC, nil)...) {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		mac, flows, err := decode(p)
		if err != nil {
			return
		}
		again := Encode(mac, flows)
		if len(again) != 1 || len(again[0]) > len(p) {
			t.Errorf("%q became %q", p, again)
		}
	})
}

func (l *Lists) note(t *testing.T, agent string, term int64, h Host, now time.Duration) {
	t.Helper()
	for _, p := range Encode(h.MAC, h.Flows) {
		if err := l.Note(agent, term, p, now); err != nil {
			t.Error(err)
		}
	}
}

func TestLists(t *testing.T) {
	var l Lists
	flows := manyFlows(3)
	first, second := Host{MAC: foreignHost.MAC, Flows: flows[:2]}, Host{MAC: []byte{2, 0, 0, 0, 0, 9}}
	l.note(t, "a", 3, first, 0)
	l.note(t, "b", 4, second, time.Second)
	l.note(t, "a", 2, Host{MAC: second.MAC, Flows: flows}, 2*time.Second) // of an older tenure
	want := []Host{second, first}
	if got := l.Hosts(2 * time.Second); !slices.EqualFunc(got, want, Host.equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	first.Flows = flows[1:3]
	l.note(t, "a", 5, first, 2*time.Second)
	want = []Host{{MAC: first.MAC, Flows: flows[:3]}, second}
	if got := l.Hosts(2 * time.Second); !slices.EqualFunc(got, want, Host.equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := l.Hosts(4 * time.Second); !slices.EqualFunc(got, []Host{first}, Host.equal) {
		t.Errorf("after the first flow and the second host have expired: %v", got)
	}
	if got := l.Hosts(5 * time.Second); len(got) > 0 {
		t.Errorf("all have expired: %v", got)
	}
}

func TestListsAreBounded(t *testing.T) {
	var l Lists
	for i := range 2 * maxHosts {
		l.note(t, fmt.Sprint(i), 1, foreignHost, 0)
	}
	if got := len(l.Hosts(0)); got != maxHosts {
		t.Errorf("%d hosts", got)
	}
	many := manyFlows(maxListed + 100)
	for part := range slices.Chunk(many, 1000) {
		l.note(t, "0", 1, Host{MAC: foreignHost.MAC, Flows: part}, 0)
	}
	if got := len(l.hosts["0"].flows); got != maxListed {
		t.Errorf("%d flows", got)
	}
}
