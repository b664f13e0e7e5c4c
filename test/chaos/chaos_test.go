package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/testutil"
)

func TestOptions(t *testing.T) {
	parse := func(faults, seed, pressure string) (options, error) {
		return parseOptions(func(name string) string {
			return map[string]string{"FAULTS": faults, "SEED": seed, "PRESSURE": pressure}[name]
		})
	}
	if o, err := parse("", "", ""); err != nil || o.faults != 500 {
		t.Errorf("without options: %+v, %v", o, err)
	}
	if o, err := parse("20", "7", "10m"); err != nil || o != (options{20, 7, 10 * time.Minute}) {
		t.Errorf("with options: %+v, %v", o, err)
	}
	for _, bad := range [][3]string{{"many", "", ""}, {"0", "", ""}, {"-1", "", ""}, {"", "x", ""},
		{"", "", "10"}, {"", "", "-1s"}, {"", "", "25h"}} {
		if _, err := parse(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

// TestCourse: a seed repeats the course, and each fault is drawn.
func TestCourse(t *testing.T) {
	drawn := map[string]bool{}
	one := &chaos{random: rand.New(rand.NewPCG(7, 0))}
	again := &chaos{random: rand.New(rand.NewPCG(7, 0))}
	for range 1000 {
		f, span := one.pick(), one.span()
		if f.name != again.pick().name || span != again.span() || span < shortest || span > longest {
			t.Fatalf("%s for %v", f.name, span)
		}
		drawn[f.name] = true
	}
	if len(drawn) != len(faults) {
		t.Errorf("%d of %d faults were drawn", len(drawn), len(faults))
	}
}

// TestShortChaos is 60 faults drawn at random.
func TestShortChaos(t *testing.T) {
	testutil.NeedRoot(t)
	cluster.NeedKvip(t)
	if err := run(t.Context(), options{faults: 60, seed: rand.Uint64()}); err != nil {
		t.Error(err)
	}
}
