package inspect

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

var (
	vip4  = netip.MustParseAddr("192.0.2.10")
	vip6  = netip.MustParseAddr("2001:db8::10")
	since = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// view returns an agent's view of an address: the assigned node, and the state on its own node.
func view(addr netip.Addr, node, state, sentence string) speaker.AddressReport {
	v := speaker.AddressReport{Address: addr, Services: []string{"default/web"}, Node: node, Sentence: sentence}
	if state != "" {
		v.Present, v.State, v.Since = true, state, since
	}
	return v
}

func answerOf(node string, fresh bool, views ...speaker.AddressReport) speaker.Report {
	return speaker.Report{Node: node, Fresh: fresh, Addresses: views}
}

func TestMergeUsesTheBestView(t *testing.T) {
	for _, row := range []struct {
		name     string
		answers  []speaker.Report
		node     string
		state    string // "": not announced
		sentence string
		on       map[string]string
	}{
		{"the owner's view wins",
			[]speaker.Report{answerOf("a", true, view(vip4, "b", "", "as a sees it")), answerOf("b", true, view(vip4, "b", "owned", "as b sees it"))},
			"b", "owned", "as b sees it", map[string]string{"b": "owned"}},
		{"the owner's stale view wins over a fresh one of another",
			[]speaker.Report{answerOf("a", true, view(vip4, "a", "", "as a sees it")), answerOf("b", false, view(vip4, "b", "owned", "as b sees it"))},
			"b", "owned", "as b sees it", map[string]string{"b": "owned"}},
		{"a fresh view wins if no node has it",
			[]speaker.Report{answerOf("a", false, view(vip4, "a", "", "stale")), answerOf("b", true, view(vip4, "c", "", "fresh"))},
			"c", "", "fresh", map[string]string{}},
		{"of equal views the first counts",
			[]speaker.Report{answerOf("a", true, view(vip4, "c", "", "as a sees it")), answerOf("b", true, view(vip4, "c", "", "as b sees it"))},
			"c", "", "as a sees it", map[string]string{}},
		{"S3: in a move the new owner announces it, the old one is silent",
			[]speaker.Report{answerOf("a", true, view(vip4, "b", "leaving", "as a sees it")), answerOf("b", true, view(vip4, "b", "owned", "as b sees it"))},
			"b", "owned", "as b sees it", map[string]string{"a": "leaving", "b": "owned"}},
		{"S3: an old owner alone does not announce it",
			[]speaker.Report{answerOf("a", true, view(vip4, "b", "leaving", "as a sees it"))},
			"b", "", "as a sees it", map[string]string{"a": "leaving"}},
		{"S6: an adopted address is not announced",
			[]speaker.Report{answerOf("a", false, view(vip4, "", "adopted", ""))},
			"", "", "", map[string]string{"a": "adopted"}},
		{"S6: also if another node expects that",
			[]speaker.Report{answerOf("a", false, view(vip4, "", "adopted", "")), answerOf("b", true, view(vip4, "a", "", "as b sees it"))},
			"a", "", "as b sees it", map[string]string{"a": "adopted"}},
		{"of two owners the one with a fresh view counts",
			[]speaker.Report{answerOf("a", false, view(vip4, "a", "owned", "as a sees it")), answerOf("b", true, view(vip4, "b", "owned", "as b sees it"))},
			"b", "owned", "as b sees it", map[string]string{"a": "owned", "b": "owned"}},
		{"an owner without a decision announces",
			[]speaker.Report{answerOf("a", false, view(vip4, "", "owned", ""))},
			"a", "owned", "", map[string]string{"a": "owned"}},
		{"the control plane's address",
			[]speaker.Report{answerOf("a", true, view(vip4, "b", "", "as a sees it")), answerOf("b", true, view(vip4, "b", "shared", "as b sees it"))},
			"b", "shared", "as b sees it", map[string]string{"b": "shared"}},
		{"no node",
			[]speaker.Report{answerOf("a", true, view(vip4, "", "", "no endpoint")), answerOf("b", true, view(vip4, "", "", "no endpoint"))},
			"", "", "no endpoint", map[string]string{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := merge(row.answers)
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			one := got[0]
			if one.Node != row.node || one.State != row.state || one.Sentence != row.sentence || !reflect.DeepEqual(one.On, row.on) {
				t.Errorf("got %+v", one)
			}
			if announced := row.state != ""; one.Present != announced || one.Since.Equal(since) != announced {
				t.Errorf("here is %t since %s", one.Present, one.Since)
			}
		})
	}
}

func TestMergeSorts(t *testing.T) {
	if got := merge(nil); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %#v", got)
	}
	got := merge([]speaker.Report{answerOf("a", true, view(vip6, "a", "owned", "")), answerOf("b", true, view(vip6, "a", "", ""), view(vip4, "b", "owned", ""))})
	if len(got) != 2 || got[0].Address != vip4 || got[0].Node != "b" || got[1].Address != vip6 || got[1].Node != "a" {
		t.Errorf("got %+v", got)
	}
}
