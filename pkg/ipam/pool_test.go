package ipam

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPoolValidate(t *testing.T) {
	for ranges, want := range map[string]string{
		"":                          "it has no addresses",
		"192.0.2.0/24":              "",
		"0.0.0.0/0 ::/0":            "",
		"192.0.2.0/25 192.0.2.128":  "",
		"192.0.2.0/24 192.0.2.9":    "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
		"192.0.2.9 192.0.2.0/24":    "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
		"192.0.2.9 192.0.2.9":       "ranges 192.0.2.9 and 192.0.2.9 overlap",
		"192.0.2.0/30 192.0.2.3":    "overlap",
		"2001:db8::/64 2001:db8::1": "ranges 2001:db8::/64 and 2001:db8::1 overlap",
		// not adjacent after sorting:
		"192.0.2.0/24 192.0.2.9 192.0.2.10-192.0.3.1": "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
	} {
		err := readPool(t, "p", strings.Fields(ranges)).Validate()
		if want == "" && err != nil || want != "" &&
			(err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", ranges, err, want)
		}
	}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for want, r := range map[string]Range{
		"an end is missing":                   {First: v4},
		"of different families":               {v4, v6},
		"the first address is above the last": {v4, v4.Prev()},
		"IPv4 in IPv6 form":                   {netip.MustParseAddr("::ffff:192.0.2.1"), v6},
	} {
		if err := (Pool{Name: "p", Ranges: []Range{r}}).Validate(); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", r, err, want)
		}
	}
}

func TestPoolSize(t *testing.T) {
	for ranges, want := range map[string]uint64{
		"":                              0,
		"192.0.2.0/24 192.0.3.1":        257,
		"192.0.2.0/24 192.0.3.1 avoid":  255,
		"192.0.2.1-192.0.2.254 avoid":   254,
		"192.0.2.255-192.0.3.0 avoid":   0,
		"192.0.2.128-192.0.4.128 avoid": 509,
		"0.0.0.0/0 avoid":               1<<32 - 1<<25,
		"10.0.0.0/16 avoid":             65536 - 512,
		"2001:db8::/120 avoid":          256,
		"2001:db8::/64":                 math.MaxUint64,
		"2001:db8::/65 2001:db9::/65":   math.MaxUint64,
		"192.0.2.0 2001:db8::/64":       math.MaxUint64,
		"2001:db8::/65 192.0.2.0/31":    1<<63 + 2,
	} {
		if got := readPool(t, "p", strings.Fields(ranges)).Size(); got != want {
			t.Errorf("%q has %d addresses, want %d", ranges, got, want)
		}
	}
}

// Size is the number of addresses that Contains accepts.
func TestPoolSizeAgreesWithContains(t *testing.T) {
	for _, ranges := range []string{"192.0.1.250-192.0.4.3", "192.0.2.0/23", "192.0.2.0",
		"192.0.2.255", "192.0.2.255-192.0.4.0"} {
		p := readPool(t, "p", []string{ranges, "avoid"})
		var count uint64
		for a := p.Ranges[0].First; p.Ranges[0].Contains(a); a = a.Next() {
			if p.Contains(a) {
				count++
			}
		}
		if count != p.Size() {
			t.Errorf("%s contains %d addresses, its size is %d", ranges, count, p.Size())
		}
	}
}

func TestOverlaps(t *testing.T) {
	w := newWorld()
	replay(t, w, `
		pool a 192.0.2.0/24 2001:db8::/64
		pool b 192.0.2.200-192.0.3.10
		pool c 192.0.2.0/28 192.0.2.208/28
		pool d 2001:db8::/48
		pool e 198.51.100.0/24
		pool f 192.0.2.16 192.0.2.16`)
	got := Overlaps(slices.Collect(maps.Values(w.pools)))
	want := map[string][]string{
		"a": {"pool b: 192.0.2.200-192.0.2.255", "pool c: 192.0.2.0/28", "pool c: 192.0.2.208/28",
			"pool d: 2001:db8::/64", "pool f: 192.0.2.16"},
		"b": {"pool a: 192.0.2.200-192.0.2.255", "pool c: 192.0.2.208/28"},
		"c": {"pool a: 192.0.2.0/28", "pool a: 192.0.2.208/28", "pool b: 192.0.2.208/28"},
		"d": {"pool a: 2001:db8::/64"},
		"f": {"pool a: 192.0.2.16"},
	}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMerge(t *testing.T) {
	for ranges, want := range map[string]string{
		"":                                 "",
		"192.0.2.9 192.0.2.0/24 192.0.2.9": "192.0.2.0/24",
		"192.0.2.5-192.0.2.9 192.0.2.1-192.0.2.5 2001:db8::1": "192.0.2.1-192.0.2.9 2001:db8::1",
		"192.0.2.0/25 192.0.2.128/25":                         "192.0.2.0/25 192.0.2.128/25",
	} {
		p := readPool(t, "p", strings.Fields(ranges))
		merged := Merge(p.Ranges)
		if got := join(merged, " "); got != want {
			t.Errorf("%q becomes %q, want %q", ranges, got, want)
		}
		if err := (Pool{Ranges: merged}).Validate(); len(merged) > 0 && err != nil {
			t.Error(err)
		}
	}
}

// The cursor yields every address of the family once, in order, and again after a reset.
func TestPoolCursor(t *testing.T) {
	for name, row := range map[string]struct{ pool, taken, want string }{
		"ascending": {"192.0.2.8/31 192.0.2.1-192.0.2.2", "", "192.0.2.1 192.0.2.2 192.0.2.8 192.0.2.9"},
		"descending": {"192.0.2.8/31 192.0.2.1-192.0.2.2 descending", "",
			"192.0.2.9 192.0.2.8 192.0.2.2 192.0.2.1"},
		"taken":     {"192.0.2.0/30", "192.0.2.0 192.0.2.2", "192.0.2.1 192.0.2.3"},
		"avoided":   {"192.0.2.254-192.0.3.1 avoid", "", "192.0.2.254 192.0.3.1"},
		"the last":  {"255.255.255.254/31", "", "255.255.255.254 255.255.255.255"},
		"the first": {"0.0.0.0/31 descending", "", "0.0.0.1 0.0.0.0"},
		"no IPv4":   {"2001:db8::/64", "", ""},
	} {
		c := newPoolCursor(readPool(t, "p", strings.Fields(row.pool)))
		for range 2 {
			taken := map[string]bool{}
			for _, text := range strings.Fields(row.taken) {
				taken[text] = true
			}
			var got []string
			for {
				a, ok := c.free(IPv4, func(a netip.Addr) bool { return taken[a.String()] })
				if !ok {
					break
				}
				got = append(got, a.String())
				taken[a.String()] = true
			}
			if text := strings.Join(got, " "); text != row.want {
				t.Errorf("%s: got %q, want %q", name, text, row.want)
			}
			c.reset()
		}
	}
}

// An invalid range is not allocated from.
func TestPoolCursorSkipsInvalidRanges(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.1")
	c := newPoolCursor(Pool{Ranges: []Range{{v4, v4.Prev()}, {First: v4}, {v4, v4}}})
	if len(c.ranges[IPv4]) != 1 || c.ranges[IPv4][0] != (Range{v4, v4}) {
		t.Errorf("ranges %v", c.ranges[IPv4])
	}
}

func TestAllowsAndHasFamily(t *testing.T) {
	p := readPool(t, "p", strings.Fields("192.0.2.0/24 ns=a,b"))
	for namespace, want := range map[string]bool{"a": true, "b": true, "c": false, "": false} {
		if p.Allows(namespace) != want {
			t.Errorf("namespace %q: want %v", namespace, want)
		}
	}
	if !p.HasFamily(IPv4) || p.HasFamily(IPv6) || (Pool{Ranges: []Range{{}}}).HasFamily(IPv6) {
		t.Error("the families of the pool are wrong")
	}
	if !(Pool{}).Allows("c") {
		t.Error("a global pool refuses a namespace")
	}
}

func TestRangesText(t *testing.T) {
	var p Pool
	first := netip.MustParseAddr("192.0.2.1")
	for range 12 {
		p.Ranges = append(p.Ranges, Range{first, first})
		first = first.Next().Next()
	}
	want := "192.0.2.1, 192.0.2.3, 192.0.2.5, 192.0.2.7, 192.0.2.9, 192.0.2.11, 192.0.2.13, " +
		"192.0.2.15, 192.0.2.17, 192.0.2.19 and 2 more"
	if got := p.RangesText(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Pool{Ranges: []Range{mustRange(t,
		"192.0.2.0/24")}}).RangesText(); got != "192.0.2.0/24" {
		t.Errorf("got %q", got)
	}
}
