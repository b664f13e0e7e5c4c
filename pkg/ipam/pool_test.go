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
		"":                          `check pool "p": it has no addresses`,
		"192.0.2.0/24":              "",
		"0.0.0.0/0 ::/0":            "",
		"192.0.2.0/25 192.0.2.128":  "",
		"192.0.2.0/24 192.0.2.9":    "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
		"192.0.2.9 192.0.2.0/24":    "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
		"192.0.2.9 192.0.2.9":       "ranges 192.0.2.9 and 192.0.2.9 overlap",
		"192.0.2.0/30 192.0.2.3":    "overlap",
		"2001:db8::/64 2001:db8::1": "ranges 2001:db8::/64 and 2001:db8::1 overlap",
		// Not neighbours when sorted:
		"192.0.2.0/24 192.0.2.9 192.0.2.10-192.0.3.1": "ranges 192.0.2.0/24 and 192.0.2.9 overlap",
	} {
		err := readPool(t, "p", strings.Fields(ranges)).Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, not %s", ranges, err, want)
		}
	}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for want, r := range map[string]Range{
		"an end is missing":     {First: v4},
		"of different families": {v4, v6},
		"it runs backwards":     {v4, v4.Prev()},
		"written as IPv6":       {netip.MustParseAddr("::ffff:192.0.2.1"), v6},
	} {
		if err := (Pool{Name: "p", Ranges: []Range{r}}).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, not %s", r, err, want)
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
			t.Errorf("%q has %d addresses, not %d", ranges, got, want)
		}
	}
}

// Size counts what Contains lets in.
func TestPoolSizeAgreesWithContains(t *testing.T) {
	for _, ranges := range []string{"192.0.1.250-192.0.4.3", "192.0.2.0/23", "192.0.2.0", "192.0.2.255", "192.0.2.255-192.0.4.0"} {
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
	tell(t, w, `
		pool a 192.0.2.0/24 2001:db8::/64
		pool b 192.0.2.200-192.0.3.10
		pool c 192.0.2.0/28 192.0.2.208/28
		pool d 2001:db8::/48
		pool e 198.51.100.0/24
		pool f 192.0.2.16 192.0.2.16`)
	got := Overlaps(slices.Collect(maps.Values(w.pools)))
	want := map[string][]string{
		"a": {"pool b: 192.0.2.200-192.0.2.255", "pool c: 192.0.2.0/28", "pool c: 192.0.2.208/28", "pool d: 2001:db8::/64", "pool f: 192.0.2.16"},
		"b": {"pool a: 192.0.2.200-192.0.2.255", "pool c: 192.0.2.208/28"},
		"c": {"pool a: 192.0.2.0/28", "pool a: 192.0.2.208/28", "pool b: 192.0.2.208/28"},
		"d": {"pool a: 2001:db8::/64"},
		"f": {"pool a: 192.0.2.16"},
	}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMerged(t *testing.T) {
	for ranges, want := range map[string]string{
		"":                                 "",
		"192.0.2.9 192.0.2.0/24 192.0.2.9": "192.0.2.0/24",
		"192.0.2.5-192.0.2.9 192.0.2.1-192.0.2.5 2001:db8::1": "192.0.2.1-192.0.2.9 2001:db8::1",
		"192.0.2.0/25 192.0.2.128/25":                         "192.0.2.0/25 192.0.2.128/25",
	} {
		p := readPool(t, "p", strings.Fields(ranges))
		merged := Merged(p.Ranges)
		if got := join(merged, " "); got != want {
			t.Errorf("%q becomes %q, not %q", ranges, got, want)
		}
		if err := (Pool{Ranges: merged}).Validate(); len(merged) > 0 && err != nil {
			t.Error(err)
		}
	}
}

func TestLedger(t *testing.T) {
	w := newWorld()
	tell(t, w, `
		pool p 192.0.2.0/30 2001:db8::/64
		service a/1 80 v4,v6 key=k
		service a/2 81 key=k
		service a/3 82 pool=p
		want a/3 192.0.2.1`)
	clone := w.ledger.Clone()
	if !clone.Equal(w.ledger) || !w.ledger.Equal(clone) {
		t.Error("a clone is not equal")
	}
	if used := w.ledger.Used(w.pools["p"]); used != 3 {
		t.Errorf("%d addresses are used", used)
	}
	shared := netip.MustParseAddr("192.0.2.0")
	for _, spoil := range []func(Ledger){
		func(l Ledger) { l[shared][0].Ports[0].Number++ },
		func(l Ledger) { l[shared][0].Key = "x" },
		func(l Ledger) { l[shared][0].Pool = "x" },
		func(l Ledger) { l[shared][0].Owner = "x/x" },
		func(l Ledger) { l[shared] = l[shared][1:] },
		func(l Ledger) { delete(l, shared) },
		func(l Ledger) { l[netip.MustParseAddr("192.0.2.9")] = nil },
	} {
		other := w.ledger.Clone()
		spoil(other)
		if other.Equal(w.ledger) || w.ledger.Equal(other) {
			t.Error("a change is not seen")
		}
		if !clone.Equal(w.ledger) {
			t.Fatal("a change of a clone changed the ledger")
		}
	}
}
