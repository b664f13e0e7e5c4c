package bgp

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// tableStep is one step of a test: the wanted routes, and what is sent.
type tableStep struct {
	want    string // such as "a b! c*": ! is of the control plane, * has other attributes
	limit   int
	forget  bool   // IPv4 before
	send    string // such as "-a b": withdrawals first
	refused int
	lacks   int // unreachable
	invalid int
}

// tableCases: letters are routes of IPv4, capital ones of IPv6.
var tableCases = map[string][]tableStep{
	"first table":          {{want: "a b A", send: "a b A"}, {want: "a b A"}},
	"order does not count": {{want: "a b", send: "a b"}, {want: "b a"}},
	"attributes":           {{want: "a b", send: "a b"}, {want: "a b*", send: "b"}},
	"withdrawal":           {{want: "a b c", send: "a b c"}, {want: "b", send: "-a -c"}},
	"replacement":          {{want: "a", send: "a"}, {want: "b", send: "-a b"}, {send: "-b"}},
	"B10 limit": {
		{want: "a b c", limit: 2, send: "a b", refused: 1},
		{want: "c a b", limit: 2, refused: 1}, // the peer keeps what it has
		{want: "c a", limit: 2, send: "-b c"},
		{want: "c a", limit: 1, send: "-a", refused: 1},
		{want: "c a", limit: 2, send: "a"},
	},
	"B10 control plane": {
		{want: "a b c! d!", limit: 3, send: "c d a", refused: 1},
		{want: "a b c! d! e!", limit: 3, send: "-a e", refused: 2},
		{want: "c! d! e! f!", limit: 3, send: "f"}, // beyond the limit, always
		{want: "a f!", limit: 3, send: "-c -d -e a"},
	},
	"B10 a route becomes the control plane's": {
		{want: "a b", limit: 1, send: "a", refused: 1},
		{want: "a b!", limit: 1, send: "-a b", refused: 1},
	},
	"refresh": {
		{want: "a b A", send: "a b A"},
		{want: "a b A", forget: true, send: "a b"},
		{want: "a b A"},
	},
	"forgotten and withdrawn": {
		{want: "a b", send: "a b"}, {want: "b", forget: true, send: "-a b"}, {want: "b"},
	},
	"a family that is not carried": {{want: "a x X", send: "a", lacks: 2}},
	"given twice":                  {{want: "a a* b", send: "a b", invalid: 1}, {want: "a b"}},
	"invalid":                      {{want: "a % b", send: "a b", invalid: 1}},
}

func TestTableDiff(t *testing.T) {
	for name, steps := range tableCases {
		t.Run(name, func(t *testing.T) {
			table := table{map[netip.Prefix]string{}}
			for i, s := range steps {
				if s.forget {
					table.forget(IPv4)
				}
				limit := s.limit
				if limit == 0 {
					limit = 1000
				}
				carries := func(Family) bool { return !strings.Contains(s.want, "x") }
				if s.lacks > 0 {
					carries = func(f Family) bool { return f == IPv4 }
				}
				c := table.diff(tableRoutes(s.want), limit, carries)
				got := tableStep{s.want, s.limit, s.forget, "", c.refused, c.unreachable, c.invalid}
				var sent []string
				for _, p := range c.withdraw {
					sent = append(sent, "-"+letterOf(p))
				}
				for _, r := range c.announce {
					sent = append(sent, letterOf(r.Prefix))
				}
				if got.send = strings.Join(sent, " "); got != s {
					t.Errorf("step %d:\n%+v, want\n%+v", i, got, s)
				}
				table.record(c)
			}
		})
	}
}

func letterOf(p netip.Prefix) string { return string(rune(p.Addr().AsSlice()[3])) }

func tableRoutes(text string) (all []Route) {
	for _, word := range strings.Fields(text) {
		letter := word[0]
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, letter}), 32)
		if letter < 'a' || letter == 'x' {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0, letter}), 128)
		}
		r := Route{Prefix: p, ControlPlane: strings.Contains(word, "!")}
		if strings.Contains(word, "*") {
			r.Prepend = 1
		}
		if letter == '%' {
			r.Prefix = netip.PrefixFrom(p.Addr(), 8)
		}
		all = append(all, r)
	}
	return all
}

func TestTableCount(t *testing.T) {
	table := table{map[netip.Prefix]string{}}
	c := table.diff(tableRoutes("a b A"), 10, func(Family) bool { return true })
	table.record(c)
	if got := table.count(); got != [families]int{2, 1} {
		t.Errorf("%v", got)
	}
	table.forget(IPv6) // it is still the peer's
	if got := table.count(); got != [families]int{2, 1} {
		t.Errorf("%v", got)
	}
}

func TestChunks(t *testing.T) {
	size := func(n int) int { return n }
	for _, c := range []struct {
		list   []int
		budget int
		want   [][]int
	}{
		{nil, 10, nil},
		{[]int{5, 5, 5}, 10, [][]int{{5, 5}, {5}}},
		{[]int{11, 1}, 10, [][]int{{11}, {1}}}, // what is too large is alone
		{[]int{1, 2, 3, 4}, 10, [][]int{{1, 2, 3, 4}}},
	} {
		if got := slices.Collect(chunks(c.list, c.budget, size)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v in %d: %v, want %v", c.list, c.budget, got, c.want)
		}
	}
	for range chunks([]int{1, 2}, 1, size) {
		break // ends early
	}
}
