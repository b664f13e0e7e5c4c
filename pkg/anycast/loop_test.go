package anycast

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// TestB6ConfirmationAfterAPause: a health that was read before a pause, and reported after it, does
// not count.
func TestB6ConfirmationAfterAPause(t *testing.T) {
	var c confirmation
	at := func(now, observed time.Duration, want bool) {
		t.Helper()
		c.turn(now)
		c.observed = max(c.observed, observed)
		if got := c.given(); got != want {
			t.Errorf("at %v: %v, want %v", now, got, want)
		}
	}
	at(time.Second, 0, true) // the start
	at(1500*time.Millisecond, 1400*time.Millisecond, true)
	at(3400*time.Millisecond, 0, true)
	at(6*time.Second, 0, false)
	at(6001*time.Millisecond, 3300*time.Millisecond, false) // it was in the channel
	at(6100*time.Millisecond, 6050*time.Millisecond, true)
}

// TestPresent: each address counts for itself, and only with some lifetime left on that link
// (B7).
func TestPresent(t *testing.T) {
	lo := link.Link{Index: 1, Name: "lo"}
	a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	marked := func(addr netip.Addr, index int, left time.Duration) vip.Marked {
		return vip.Marked{Address: vip.Address{Addr: addr, LinkIndex: index}, ValidLft: left}
	}
	for name, c := range map[string]struct {
		list  []vip.Marked
		there string
		until time.Duration
	}{
		"none": {nil, "[]", forever},
		"both": {[]vip.Marked{marked(a, 1, 11*time.Second), marked(b, 1, 9*time.Second)},
			"[198.51.100.1 2001:db8::1]", 14 * time.Second},
		"one":          {[]vip.Marked{marked(a, 1, 11*time.Second)}, "[198.51.100.1]", 16 * time.Second},
		"another link": {[]vip.Marked{marked(a, 2, 11*time.Second)}, "[]", forever},
		"it ends":      {[]vip.Marked{marked(a, 1, 2*time.Second)}, "[]", forever},
	} {
		there, until := present(c.list, []netip.Addr{a, b}, lo, 5*time.Second)
		if fmt.Sprint(there) != c.there || until != c.until {
			t.Errorf("%s: %v until %v", name, there, until)
		}
	}
}
