package main

import (
	"math/rand/v2"
	"os"
	"testing"

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
	if os.Getenv("KVIP_BINARY") == "" {
		path, err := cluster.Kvip(t.TempDir(), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("KVIP_BINARY", path)
	}
	if err := run(t.Context(), options{faults: 60, seed: rand.Uint64()}); err != nil {
		t.Error(err)
	}
}
