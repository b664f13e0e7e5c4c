package bgp

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

func TestRouteValidate(t *testing.T) {
	mapped := Route{Prefix: netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 128)}
	for name, c := range map[string]struct {
		r      Route
		change func(*Route)
		valid  bool
	}{
		"host":      {route("10.0.0.1/32"), nil, true},
		"network":   {route("10.0.0.0/24"), nil, true},
		"default":   {route("::/0"), nil, true},
		"host bits": {route("10.0.0.1/24"), nil, false},
		"zero":      {Route{}, nil, false},
		"mapped":    {mapped, nil, false},
		"prepend":   {route("10.0.0.1/32"), func(r *Route) { r.Prepend = MaxPrepend }, true},
		"too much":  {route("10.0.0.1/32"), func(r *Route) { r.Prepend = MaxPrepend + 1 }, false},
		"negative":  {route("10.0.0.1/32"), func(r *Route) { r.Prepend = -1 }, false},
		"communities": {route("10.0.0.1/32"),
			func(r *Route) { r.Communities = make([]uint32, MaxCommunities+1) }, false},
		"large communities": {route("10.0.0.1/32"),
			func(r *Route) { r.LargeCommunities = make([]LargeCommunity, MaxCommunities+1) }, false},
	} {
		if c.change != nil {
			c.change(&c.r)
		}
		if err := c.r.Validate(); (err == nil) != c.valid {
			t.Errorf("%s: %v, want valid: %v", name, err, c.valid)
		}
	}
}

// TestKey: two sets of attributes have the same key only if they are equal.
func TestKey(t *testing.T) {
	value := func() *uint32 {
		if rand.IntN(2) == 0 {
			return nil
		}
		n := rand.Uint32N(3)
		return &n
	}
	for range 20000 {
		var pair [2]Attributes
		for i := range pair {
			pair[i] = Attributes{Worse: rand.IntN(2) == 0, Prepend: rand.IntN(2), LocalPref: value(),
				MED: value(), Communities: make([]uint32, rand.IntN(4)),
				LargeCommunities: make([]LargeCommunity, rand.IntN(2))}
		}
		if (pair[0].key() == pair[1].key()) != reflect.DeepEqual(pair[0], pair[1]) {
			t.Fatalf("%+v and %+v: %q and %q", pair[0], pair[1], pair[0].key(), pair[1].key())
		}
	}
}
