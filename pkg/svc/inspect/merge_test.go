package inspect

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

var (
	vip4  = netip.MustParseAddr("192.0.2.10")
	vip6  = netip.MustParseAddr("2001:db8::10")
	since = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// report returns an agent's report of an address: the assigned node, and the state on its own node.
func report(addr netip.Addr, node, state, sentence string) speaker.AddressReport {
	v := speaker.AddressReport{
		Address: addr, Services: []string{"default/web"}, Node: node, Sentence: sentence,
	}
	if state != "" {
		v.Present, v.State, v.Since = true, state, since
	}
	return v
}

func answerOf(node string, fresh bool, reports ...speaker.AddressReport) speaker.Report {
	return speaker.Report{Node: node, Fresh: fresh, Addresses: reports}
}

func TestMergeUsesTheBestView(t *testing.T) {
	// fresh and stale return a node's answer with its report of vip4. The explanation is "by NODE".
	fresh := func(node, owner, state string) speaker.Report {
		return answerOf(node, true, report(vip4, owner, state, "by "+node))
	}
	stale := func(node, owner, state string) speaker.Report {
		return answerOf(node, false, report(vip4, owner, state, "by "+node))
	}
	type answers []speaker.Report
	type states map[string]string
	for _, row := range []struct {
		name     string
		answers  answers
		node     string
		state    string // "": not announced
		sentence string
		on       states
	}{
		{"the owner's report wins", answers{fresh("a", "b", ""), fresh("b", "b", "owned")},
			"b", "owned", "by b", states{"b": "owned"}},
		{"the owner's stale report wins over a fresh one of another",
			answers{fresh("a", "a", ""), stale("b", "b", "owned")},
			"b", "owned", "by b", states{"b": "owned"}},
		{"a fresh report wins if no node has it", answers{stale("a", "a", ""), fresh("b", "c", "")},
			"c", "", "by b", states{}},
		{"of equal reports the first counts", answers{fresh("a", "c", ""), fresh("b", "c", "")},
			"c", "", "by a", states{}},
		{"S3: in a move the new owner announces it, the old one is silent",
			answers{fresh("a", "b", "leaving"), fresh("b", "b", "owned")},
			"b", "owned", "by b", states{"a": "leaving", "b": "owned"}},
		{"S3: an old owner alone does not announce it", answers{fresh("a", "b", "leaving")},
			"b", "", "by a", states{"a": "leaving"}},
		{"S6: an adopted address is not announced", answers{stale("a", "", "adopted")},
			"", "", "by a", states{"a": "adopted"}},
		{"S6: also if another node expects that",
			answers{stale("a", "", "adopted"), fresh("b", "a", "")},
			"a", "", "by b", states{"a": "adopted"}},
		{"of two owners the one with a fresh view counts",
			answers{stale("a", "a", "owned"), fresh("b", "b", "owned")},
			"b", "owned", "by b", states{"a": "owned", "b": "owned"}},
		{"an owner without a decision announces", answers{stale("a", "", "owned")},
			"a", "owned", "by a", states{"a": "owned"}},
		{"the control plane's address", answers{fresh("a", "b", ""), fresh("b", "b", "shared")},
			"b", "shared", "by b", states{"b": "shared"}},
		{"no node", answers{fresh("a", "", ""), fresh("b", "", "")}, "", "", "by a", states{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := merge(row.answers)
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			one := got[0]
			if one.Node != row.node || one.State != row.state || one.Sentence != row.sentence {
				t.Errorf("got %+v", one)
			}
			if !maps.Equal(one.On, row.on) {
				t.Errorf("on %v, want %v", one.On, row.on)
			}
			announced := row.state != ""
			if one.Present != announced || one.Since.Equal(since) != announced {
				t.Errorf("here is %t since %s", one.Present, one.Since)
			}
		})
	}
}

func TestMergeSorts(t *testing.T) {
	if got := merge(nil); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %#v", got)
	}
	got := merge([]speaker.Report{
		answerOf("a", true, report(vip6, "a", "owned", "")),
		answerOf("b", true, report(vip6, "a", "", ""), report(vip4, "b", "owned", "")),
	})
	if len(got) != 2 || got[0].Address != vip4 || got[1].Address != vip6 {
		t.Fatalf("got %+v", got)
	}
	if got[0].Node != "b" || got[1].Node != "a" {
		t.Errorf("got %+v", got)
	}
}
