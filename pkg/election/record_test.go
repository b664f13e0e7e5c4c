package election

import (
	"testing"
	"time"
)

// E3: a proof names the last observed holder and its term.
func TestProves(t *testing.T) {
	last := lastHolder{id: "a", term: 7}
	by := func(holder string, term int64, why Reason) Proof { return Proof{holder, term, why} }
	shutdown := by("a", 7, ReasonShutdown)
	for _, c := range []struct {
		name string
		r    Record
		last lastHolder
		want bool
	}{
		{"by the last holder", Record{Exists: true, Released: shutdown}, last, true},
		{"by another", Record{Exists: true, Released: by("b", 7, ReasonShutdown)}, last, false},
		{"of another term", Record{Exists: true, Released: by("a", 6, ReasonShutdown)}, last, false},
		{"no proof", Record{Exists: true}, last, false},
		{"no holder was observed", Record{Exists: true}, lastHolder{}, false},
		{"held again", Record{Exists: true, Holder: "c", Released: shutdown}, last, false},
		{"deleted", Record{Released: shutdown}, last, false},
		{"never owned (E9)", Record{Exists: true, Released: by("a", 7, ReasonAddressInUse)}, last, false},
	} {
		if got := c.r.proves(c.last); got != c.want {
			t.Errorf("%s: proves = %v, want %v", c.name, got, c.want)
		}
	}
}

// E9: only the last observed holder declines, and only because the address is in use.
func TestDeclines(t *testing.T) {
	last := lastHolder{id: "a", term: 7}
	for _, c := range []struct {
		name  string
		proof Proof
		want  bool
	}{
		{"in use", Proof{"a", 7, ReasonAddressInUse}, true},
		{"another reason", Proof{"a", 7, ReasonShutdown}, false},
		{"another holder", Proof{"b", 7, ReasonAddressInUse}, false},
		{"another term", Proof{"a", 8, ReasonAddressInUse}, false},
	} {
		if got := (Record{Exists: true, Released: c.proof}).declines(last); got != c.want {
			t.Errorf("%s: declines = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestContainsMAC(t *testing.T) {
	for _, c := range []struct {
		list, mac string
		want      bool
	}{
		{"aa", "aa", true}, {"aa,bb", "bb", true}, {"aa,bb", "aa", true}, {"aa", "a", false},
		{"", "aa", false}, {"aa", "", false}, {"", "", false}, {"aa,", "", false},
	} {
		if got := ContainsMAC(c.list, c.mac); got != c.want {
			t.Errorf("ContainsMAC(%q, %q) = %v, want %v", c.list, c.mac, got, c.want)
		}
	}
}

// E8: the node name ends at the first underscore.
func TestNodeName(t *testing.T) {
	for id, want := range map[string]string{
		"node-a_0123_4026531840": "node-a", "node.example": "node.example", "": "", "_x": "",
	} {
		if got := NodeName(id); got != want {
			t.Errorf("NodeName(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestActionString(t *testing.T) {
	base, deadline := Record{Version: 3}, seconds(2.5)
	for want, a := range map[string]Action{
		"exit":                           {Kind: Exit},
		"read seq=4 until=1s":            {Kind: Read, Seq: 4, Deadline: time.Second},
		"own until=2.5s reason=Released": {Kind: Own, Seq: 9, Deadline: deadline, Reason: ReasonReleased},
		"defend mac=aa":                  {Kind: Defend, MAC: "aa"},
		`renew seq=2 base=3 holder="a" term=4 degraded="slow" latency=2s slow-moves=1 via=peers`: {
			Kind: Renew, Seq: 2, Base: base, PreferPeers: true,
			Record: Record{
				Holder: "a", Term: 4, Degraded: "slow", Latency: 2 * time.Second, SlowMoves: 1,
			},
		},
		`release seq=2 base=3 holder="" term=4 proof="a"/4`: {
			Kind: Release, Seq: 2, Base: base,
			Record: Record{Term: 4, Released: Proof{Holder: "a", Term: 4}},
		},
		`request-transfer seq=2 base=3 holder="a" term=4 requested-by="b" requested-latency=3ms`: {
			Kind: RequestTransfer, Seq: 2, Base: base,
			Record: Record{
				Holder: "a", Term: 4, RequestedBy: "b", RequestedLatency: 3 * time.Millisecond,
			},
		},
	} {
		if got := a.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
	for k := Create; k <= Exit; k++ {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
