package peer

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/test/testutil"
)

var (
	addressA = netip.MustParseAddrPort("10.9.0.1:2117")
	addressB = netip.MustParseAddrPort("10.9.0.2:2117")
	beat     = quorum.Message{
		Kind: quorum.KindBeat, Term: quorum.Term{Number: 7, Holder: "a"}, Seq: 3,
		Window: quorum.DefaultWindow,
	}
)

func newTransport(t *testing.T, id string, dropped map[Dropped]int) *Transport {
	t.Helper()
	tr, err := New(Config{ID: id, Dropped: func(why Dropped) { dropped[why]++ }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

// pair returns two agents that know each other, on a network of their own.
func pair(t *testing.T) (a, b *Transport, dropped map[Dropped]int) {
	t.Helper()
	testutil.NewNetns(t)
	testutil.IP(t, "link set lo up")
	testutil.IP(t, "link add eth0 type bridge")
	testutil.IP(t, "addr add 10.9.0.1/24 dev eth0")
	testutil.IP(t, "addr add 10.9.0.2/24 dev eth0")
	testutil.IP(t, "link set eth0 up")
	dropped = map[Dropped]int{}
	a, b = newTransport(t, "a", dropped), newTransport(t, "b", dropped)
	list := []Agent{a.Self(addressA), b.Self(addressB)}
	for tr, local := range map[*Transport]netip.AddrPort{a: addressA, b: addressB} {
		reached, err := tr.SetAgents(local, list)
		if err != nil || len(reached) != 1 {
			t.Fatalf("reached %v, %v", reached, err)
		}
	}
	return a, b, dropped
}

// arrived returns what has arrived at an agent, as text.
func arrived(tr *Transport) (list []string) {
	tr.Read(func(from string, m quorum.Message) {
		list = append(list, fmt.Sprintf("%s: %s %d", from, m.Kind, m.Seq))
	}, func(agent string) { list = append(list, agent+" refused") })
	return list
}

// send sends a message, and returns the agents that have refused an earlier one.
func send(tr *Transport, to string, m quorum.Message) (refused []string) {
	tr.Send(to, m, func(agent string) { refused = append(refused, agent) })
	return refused
}

func TestExchange(t *testing.T) {
	a, b, dropped := pair(t)
	send(a, "", beat)
	if got := arrived(b); !slices.Equal(got, []string{"a: beat 3"}) {
		t.Fatalf("arrived %v", got)
	}
	send(b, "a", quorum.Message{Kind: quorum.KindAck, Term: beat.Term, Seq: 3, Fit: true})
	send(b, "c", beat) // not known
	if got := arrived(a); !slices.Equal(got, []string{"b: ack 3"}) {
		t.Errorf("arrived %v", got)
	}
	if got := arrived(a); len(got) > 0 || len(dropped) > 0 {
		t.Errorf("arrived %v, dropped %v", got, dropped)
	}
	if n := len(a.Descriptors()); n != 1 {
		t.Errorf("%d sockets", n)
	}
}

// TestRefused: the host of an agent whose process has ended refuses datagrams, which the next call
// reports.
func TestRefused(t *testing.T) {
	a, b, _ := pair(t)
	b.Close()
	if got := send(a, "b", beat); len(got) > 0 {
		t.Errorf("refused at once: %v", got)
	}
	testutil.Eventually(t, "a refusal", func() bool {
		return slices.Equal(arrived(a), []string{"b refused"})
	})
	send(a, "b", beat)
	testutil.Eventually(t, "a refusal by the next Send", func() bool {
		return slices.Equal(send(a, "b", beat), []string{"b"})
	})
	if _, err := b.SetAgents(addressB, []Agent{a.Self(addressA)}); err != nil {
		t.Fatal(err)
	}
	arrived(a)
	send(a, "b", beat)
	if got := arrived(b); !slices.Equal(got, []string{"a: beat 3"}) {
		t.Errorf("arrived after it opened again: %v", got)
	}
}

// TestOthersAreRefusedByTheKernel: another host gets no answer of this process.
func TestOthersAreRefusedByTheKernel(t *testing.T) {
	_, b, dropped := pair(t)
	testutil.IP(t, "addr add 10.9.0.3/24 dev eth0")
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 3)},
		net.UDPAddrFromAddrPort(addressB))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	testutil.Eventually(t, "ECONNREFUSED", func() bool {
		_, err := conn.Write(make([]byte, minLength))
		return err != nil && strings.Contains(err.Error(), "refused")
	})
	if got := arrived(b); len(got) > 0 || len(dropped) > 0 {
		t.Errorf("arrived %v, dropped %v", got, dropped)
	}
}

// TestForgeries from the address and port of an agent: without the cookie the kernel drops them,
// with it they are counted.
func TestForgeries(t *testing.T) {
	a, b, dropped := pair(t)
	p := a.peers["b"]
	good := p.to.encode(nil, 9, beat)
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   Dropped
	}{
		{"no cookie", func(b []byte) []byte { b[0]++; return b }, ""},
		{"end of the cookie", func(b []byte) []byte { b[7]++; return b }, ""},
		{"empty", func([]byte) []byte { return []byte{} }, ""},
		{"short", func(b []byte) []byte { return b[:minLength-1] }, DroppedForged},
		{"long", func(b []byte) []byte { return append(b, make([]byte, 60000)...) }, DroppedForged},
		{"number", func(b []byte) []byte { b[15]++; return b }, DroppedForged},
		{"holder", func(b []byte) []byte { b[headerLength]++; return b }, DroppedForged},
		{"code", func(b []byte) []byte { b[len(b)-1]++; return b }, DroppedForged},
		{"version", func([]byte) []byte { return resign(p, good, 16, 2) }, DroppedMalformed},
		{"kind 0", func([]byte) []byte { return resign(p, good, 17, 0) }, DroppedMalformed},
		{"kind 8", func([]byte) []byte { return resign(p, good, 17, 8) }, DroppedMalformed},
		{"negative term", func([]byte) []byte { return resign(p, good, 28, 0xff) }, DroppedMalformed},
		{"long holder", func([]byte) []byte { return resign(p, good, 52, 1) }, DroppedMalformed},
		{"short holder", func([]byte) []byte { return resign(p, good, 53, 0) }, DroppedMalformed},
	} {
		clear(dropped)
		if err := p.socket.send(c.change(slices.Clone(good))); err != nil {
			t.Fatal(c.name, err)
		}
		want := map[Dropped]int{}
		if c.want != "" {
			want[c.want] = 1
		}
		if got := arrived(b); len(got) > 0 || fmt.Sprint(dropped) != fmt.Sprint(want) {
			t.Errorf("%s: arrived %v, dropped %v, want %v", c.name, got, dropped, want)
		}
	}
	clear(dropped)
	for range 2 { // a replay
		if err := p.socket.send(good); err != nil {
			t.Fatal(err)
		}
	}
	if got := arrived(b); len(got) != 1 || dropped[DroppedReplayed] != 1 {
		t.Errorf("arrived %v, dropped %v", got, dropped)
	}
	own := a.peers["b"].from.encode(nil, 10, beat) // what b sends, back to b
	if err := p.socket.send(own); err != nil {
		t.Fatal(err)
	}
	if got := arrived(b); len(got) > 0 {
		t.Errorf("a reflected datagram arrived: %v", got)
	}
}

// resign changes a byte of a datagram and authenticates it again.
func resign(p *connection, good []byte, at int, value byte) []byte {
	b := slices.Clone(good[:len(good)-macLength])
	b[at] = value
	return append(b, p.to.sum(b)...)
}

// TestAgentsChange: connections are kept while an agent does not change, and numbers grow over new
// ones.
func TestAgentsChange(t *testing.T) {
	a, b, dropped := pair(t)
	send(a, "", beat)
	arrived(b)
	kept := b.peers["a"]
	if _, err := b.SetAgents(addressB, []Agent{a.Self(addressA)}); err != nil || b.peers["a"] != kept {
		t.Errorf("a connection of the same agent is not kept: %v", err)
	}
	again := newTransport(t, "a", dropped) // a new process
	a.Close()
	if _, err := again.SetAgents(addressA, []Agent{b.Self(addressB)}); err != nil {
		t.Fatal(err)
	}
	send(again, "b", beat)
	if got := arrived(b); len(got) > 0 {
		t.Errorf("a process that is not published: arrived %v", got)
	}
	if _, err := b.SetAgents(addressB, []Agent{again.Self(addressA)}); err != nil {
		t.Fatal(err)
	}
	send(again, "b", beat)
	if got := arrived(b); len(got) != 1 {
		t.Errorf("the new process: arrived %v", got)
	}
	again.Close()
	if _, err := again.SetAgents(addressA, []Agent{b.Self(addressB)}); err != nil {
		t.Fatal(err)
	}
	send(again, "b", beat)
	if got := arrived(b); len(got) != 1 {
		t.Errorf("the same process on a new socket: arrived %v, dropped %v", got, dropped)
	}
	if reached, err := b.SetAgents(addressB, nil); err != nil || len(reached) > 0 || len(b.peers) > 0 {
		t.Errorf("reached %v, %v", reached, err)
	}
}

// TestBadAgents: one that is not valid does not keep the others out.
func TestBadAgents(t *testing.T) {
	a, b, _ := pair(t)
	good := b.Self(addressB)
	for name, change := range map[string]func(*Agent){
		"no identity": func(a *Agent) { a.ID = "" },
		"identity":    func(a *Agent) { a.ID = strings.Repeat("x", maxID+1) },
		"port":        func(a *Agent) { a.Address = netip.AddrPortFrom(addressB.Addr(), 0) },
		"loopback":    func(a *Agent) { a.Address = netip.MustParseAddrPort("127.0.0.1:2117") },
		"multicast":   func(a *Agent) { a.Address = netip.MustParseAddrPort("224.0.0.1:2117") },
		"no address":  func(a *Agent) { a.Address = netip.AddrPort{} },
		"family":      func(a *Agent) { a.Address = netip.MustParseAddrPort("[2001:db8::1]:2117") },
		"no key":      func(a *Agent) { a.Key = "" },
		"short key":   func(a *Agent) { a.Key = "AAAA" },
		"no base64":   func(a *Agent) { a.Key = strings.Repeat("!", 44) },
		"low order":   func(a *Agent) { a.Key = strings.Repeat("A", 43) + "=" },
	} {
		bad := good
		bad.ID = "bad"
		change(&bad)
		reached, err := a.SetAgents(addressA, []Agent{bad, good})
		if err == nil || !slices.Equal(reached, []string{"b"}) {
			t.Errorf("%s: reached %v, %v", name, reached, err)
		}
		if bad.ID == "bad" { // what is not valid does not replace what was
			bad.ID = good.ID
			reached, err = a.SetAgents(addressA, []Agent{bad})
			if err == nil || !slices.Equal(reached, []string{"b"}) || a.peers["b"].agent != good {
				t.Errorf("%s, before valid: reached %v, %v", name, reached, err)
			}
		}
	}
	var many []Agent
	for i := range 2 * maxAgents {
		each := good
		each.ID = fmt.Sprint("agent", i)
		many = append(many, each)
	}
	if reached, err := a.SetAgents(addressA, many); err != nil || len(reached) != maxAgents {
		t.Errorf("%d agents, %v", len(reached), err)
	}
}

// TestFlood: a flood without the cookie takes nothing from an agent's messages.
func TestFlood(t *testing.T) {
	a, b, _ := pair(t)
	junk := make([]byte, minLength)
	for range 5000 {
		if err := a.peers["b"].socket.send(junk); err != nil {
			t.Fatal(err)
		}
	}
	send(a, "b", beat)
	if got := arrived(b); !slices.Equal(got, []string{"a: beat 3"}) {
		t.Errorf("arrived %v", got)
	}
	for range perRead + 1 {
		send(a, "b", beat)
	}
	if got := arrived(b); len(got) != perRead {
		t.Errorf("%d messages in one Read", len(got))
	}
}

// TestWire: each message is read back as it was sent, within its limits.
func TestWire(t *testing.T) {
	var d direction
	for _, want := range []quorum.Message{
		beat,
		{Kind: quorum.KindRefusal,
			Term: quorum.Term{Number: math.MaxInt32, Holder: strings.Repeat("x", maxID)},
			Seq:  math.MaxUint64, Highest: math.MaxInt32, Left: 2 * time.Second},
		{Kind: quorum.KindGoodbye, Term: quorum.Term{Number: 1}},
		{Kind: quorum.KindFlows, Term: quorum.Term{Number: 1, Holder: "a"},
			Payload: strings.Repeat("x", quorum.MaxPayload)},
	} {
		frame := d.encode([]byte("before"), 7, want)[len("before"):]
		if !bytes.HasPrefix(frame, d.cookie[:]) || len(frame) > maxLength {
			t.Errorf("a datagram of %d bytes", len(frame))
		}
		number, got, err := d.decode(frame)
		if err != nil || number != 7 || got != want {
			t.Errorf("wrote %+v, read %+v, %v", want, got, err)
		}
	}
	if microseconds(-1) != 0 || microseconds(3*time.Hour) != math.MaxUint32 {
		t.Error("durations beyond 32 bits")
	}
}

func FuzzDecode(f *testing.F) {
	var d direction
	f.Add(d.encode(nil, 1, beat))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, m, err := d.decode(b); err != nil && m != (quorum.Message{}) {
			t.Errorf("%+v with %v", m, err)
		}
		_, m, err := d.decode(resignAll(&d, b))
		if err == nil && (m.Term.Number <= 0 || len(m.Term.Holder) > maxID ||
			len(m.Payload) > quorum.MaxPayload || m.Payload != "" && m.Kind != quorum.KindFlows) {
			t.Errorf("%+v", m)
		}
	})
}

// resignAll authenticates a datagram.
func resignAll(d *direction, b []byte) []byte {
	body := slices.Clone(b[:max(0, len(b)-macLength)])
	return append(body, d.sum(body)...)
}
