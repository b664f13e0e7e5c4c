package ipam

import (
	"math"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for text, want := range map[string]struct {
		first, last string
		size        uint64
		text        string // of String, if it differs from the input
	}{
		"192.0.2.0/24":              {"192.0.2.0", "192.0.2.255", 256, ""},
		"192.0.2.10-192.0.2.20":     {"192.0.2.10", "192.0.2.20", 11, ""},
		" 192.0.2.8 - 192.0.2.11\t": {"192.0.2.8", "192.0.2.11", 4, "192.0.2.8/30"},
		"192.0.2.7":                 {"192.0.2.7", "192.0.2.7", 1, ""},
		" 192.0.2.7/32 ":            {"192.0.2.7", "192.0.2.7", 1, "192.0.2.7"},
		"192.0.2.7-192.0.2.7":       {"192.0.2.7", "192.0.2.7", 1, "192.0.2.7"},
		"192.0.2.7-192.0.2.8":       {"192.0.2.7", "192.0.2.8", 2, ""},
		"0.0.0.0/0":                 {"0.0.0.0", "255.255.255.255", 1 << 32, ""},
		"255.255.255.255":           {"255.255.255.255", "255.255.255.255", 1, ""},
		"2001:db8::/64":             {"2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", math.MaxUint64, ""},
		"2001:db8::/65":             {"2001:db8::", "2001:db8::7fff:ffff:ffff:ffff", 1 << 63, ""},
		"2001:db8::/33": {"2001:db8::", "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff",
			math.MaxUint64, ""},
		"::/0": {"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxUint64,
			""},
		"2001:DB8::1-2001:db8::ff": {"2001:db8::1", "2001:db8::ff", 255, "2001:db8::1-2001:db8::ff"},
		"2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::": {"2001:db8::ffff:ffff:ffff:ffff",
			"2001:db8:0:1::", 2, ""},
	} {
		r, err := ParseRange(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if r.First.String() != want.first || r.Last.String() != want.last || r.Size() != want.size {
			t.Errorf("%q parses as %v to %v of size %d", text, r.First, r.Last, r.Size())
		}
		if want.text == "" {
			want.text = text
		}
		if r.String() != want.text {
			t.Errorf("the text of %q is %q", text, r)
		}
	}
}

// Every error has the remedy.
func TestParseRangeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":   "it is empty: write a prefix like",
		"  ": "it is empty",
		"192.0.2.1/24": "192.0.2.1/24 is an address inside a prefix: write 192.0.2.0/24 " +
			"for the prefix, or 192.0.2.1 for the address",
		"2001:db8::1/64":            "write 2001:db8::/64",
		"192.0.2.0/33":              `prefix length "33" is invalid: write a number from 0 to 32`,
		"2001:db8::/129":            "write a number from 0 to 128",
		"192.0.2.0/-1":              `"192.0.2.0/" is a prefix`,
		"192.0.2.0/x":               `length "x" is invalid`,
		"192.0.2.0/":                `length "" is invalid`,
		"192.0.2.20-192.0.2.10":     "the first address is above the last: write 192.0.2.10-192.0.2.20",
		"192.0.2.1-2001:db8::1":     "are of different families: write one range for each",
		"::ffff:192.0.2.1":          "is an IPv4 address in IPv6 form: write 192.0.2.1",
		"::ffff:192.0.2.0/120":      "write 192.0.2.0",
		"192.0.2.1-::ffff:c000:202": "write 192.0.2.2",
		"fe80::1%eth0":              "it has a zone",
		"192.0.2.1-":                `"" is not an IP address`,
		"-192.0.2.1":                `"" is not an IP address`,
		"192.0.2.1-20":              `"20" is not an IP address`,
		"192.0.2.0/28-192.0.2.40":   `"192.0.2.0/28" is a prefix: write one prefix`,
		"192.0.2.1,192.0.2.2":       "is not an IP address",
		"192.0.02.1":                "is not an IP address",
		"example.org":               `"example.org" is not an IP address`,
	} {
		r, err := ParseRange(text)
		if err == nil {
			t.Errorf("%q parses as %s", text, r)
		} else if !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "parse range ") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestRangeContains(t *testing.T) {
	r := mustRange(t, "192.0.2.10-192.0.2.20")
	for text, want := range map[string]bool{
		"192.0.2.9": false, "192.0.2.10": true, "192.0.2.15": true, "192.0.2.20": true,
		"192.0.2.21":        false,
		"::ffff:192.0.2.15": false, "2001:db8::1": false,
	} {
		if r.Contains(netip.MustParseAddr(text)) != want {
			t.Errorf("%s contains %s: %t", r, text, !want)
		}
	}
	if mustRange(t, "fe80::/64").Contains(netip.MustParseAddr("fe80::1%eth0")) {
		t.Error("an address with a zone is in a range")
	}
	if zero := (Range{}); zero.Contains(netip.Addr{}) || zero.Size() != 0 {
		t.Error("the zero range is not empty")
	}
}

func TestTrimEnds(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.0/24":          "192.0.2.1-192.0.2.254",
		"192.0.2.0/30":          "192.0.2.1-192.0.2.2",
		"192.0.2.0/31":          "192.0.2.0/31",
		"192.0.2.0":             "192.0.2.0",
		"192.0.2.1-192.0.2.3":   "192.0.2.2",
		"2001:db8::/64":         "2001:db8::/64",
		"255.255.255.252/30":    "255.255.255.253-255.255.255.254",
		"192.0.2.10-192.0.2.20": "192.0.2.11-192.0.2.19",
	} {
		if got := mustRange(t, text).TrimEnds(); got.String() != want {
			t.Errorf("%s without its ends is %s, want %s", text, got, want)
		}
	}
}

func mustRange(t *testing.T, text string) Range {
	t.Helper()
	r, err := ParseRange(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// FuzzParseRange: a result is one family in order, and its text parses to the same.
func FuzzParseRange(f *testing.F) {
	for _, text := range []string{"192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::/64", "::1",
		"192.0.2.1/24", "a-b", "::ffff:1.2.3.4/100", "%", "1.2.3.4/ 8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			if r != (Range{}) {
				t.Fatalf("%q: an error and a range %s", text, r)
			}
			return
		}
		if r.check() != nil || r.Size() == 0 || !r.Contains(r.First) || !r.Contains(r.Last) {
			t.Fatalf("%q parses as %v, %v", text, r.First, r.Last)
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Fatalf("the text of %q is %s, which parses as %s, %v", text, r, again, err)
		}
	})
}

// TestRangeSizes: the exact size, its limit at 2^64, and the floating-point size agree.
func TestRangeSizes(t *testing.T) {
	for text, want := range map[string]struct {
		size  uint64
		float float64
	}{
		"192.0.2.0":                    {1, 1},
		"192.0.2.0/24":                 {256, 256},
		"192.0.2.255-192.0.3.0":        {2, 2},
		"0.0.0.0/0":                    {1 << 32, 1 << 32},
		"2001:db8::/65":                {1 << 63, 1 << 63},
		"2001:db8::/64":                {math.MaxUint64, 1 << 64},
		"2001:db8::/63":                {math.MaxUint64, 1 << 65},
		"::/0":                         {math.MaxUint64, math.Ldexp(1, 128)},
		"2001:db8::ffff-2001:db8::1:0": {2, 2},
		"2001:db8:0:0:ffff:ffff:ffff:ffff-2001:db8:0:1::": {2, 2},
	} {
		r := mustRange(t, text)
		if r.Size() != want.size || r.size() != want.float {
			t.Errorf("%s: sizes %d and %g, want %d and %g", text, r.Size(), r.size(), want.size, want.float)
		}
	}
}

// An invalid range contains nothing.
func TestInvalidRangesAreEmpty(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for name, r := range map[string]Range{
		"zero": {}, "one end": {First: v4}, "two families": {v4, v6}, "wrong order": {v4.Next(), v4},
	} {
		if r.Size() != 0 || r.Contains(v4) || r.Contains(v6) || r.check() == nil {
			t.Errorf("%s: size %d, %v", name, r.Size(), r.check())
		}
	}
}
