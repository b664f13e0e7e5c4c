package bgpsoak

import (
	"math/rand/v2"
	"testing"

	"github.com/kvip/kvip/test/draw"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

func TestOptions(t *testing.T) {
	parse := func(faults, seed string) (options, error) {
		return parseOptions(func(name string) string {
			return map[string]string{"FAULTS": faults, "SEED": seed}[name]
		})
	}
	if o, err := parse("", ""); err != nil || o.faults != 500 {
		t.Errorf("without options: %+v, %v", o, err)
	}
	if o, err := parse("20", "7"); err != nil || o != (options{20, 7}) {
		t.Errorf("with options: %+v, %v", o, err)
	}
	for _, bad := range [][2]string{{"many", ""}, {"0", ""}, {"-1", ""}, {"", "x"}} {
		if _, err := parse(bad[0], bad[1]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

// TestCourse: each fault is drawn, and a span is between its bounds.
func TestCourse(t *testing.T) {
	s := &soak{random: rand.New(rand.NewPCG(7, 0))}
	drawn := map[string]bool{}
	for range 2000 {
		drawn[draw.Weighted(s.random, faults, func(f fault) int { return f.weight }).name] = true
		if d := s.span(); d < shortest || d > longest {
			t.Fatalf("a span of %v", d)
		}
	}
	if len(drawn) != len(faults) {
		t.Errorf("%d of %d faults were drawn", len(drawn), len(faults))
	}
}

func TestGrowth(t *testing.T) {
	base := size{goroutines: 60, files: 30, resident: 30}
	for _, c := range []struct {
		last size
		ok   bool
	}{
		{base, true}, {size{65, 33, 40}, true}, {size{80, 30, 30}, false}, {size{60, 40, 30}, false},
		{size{60, 30, 55}, false},
	} {
		sizes := []size{base, base, base, base, c.last, c.last}
		if err := checkGrowth(sizes); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.last, err)
		}
	}
}

// TestShortSoak is one round of faults drawn at random. B3, B4, B7.
func TestShortSoak(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	if err := run(t.Context(), options{faults: 8, seed: rand.Uint64()}); err != nil {
		t.Error(err)
	}
}
