package benchreport

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestMeasureRepeatsFailures(t *testing.T) {
	broken := errors.New("broken")
	var made []int
	err := Measure(t.Context(), 3, func(i int) error {
		made = append(made, i)
		if i == 1 && len(made) < 4 {
			return broken
		}
		return nil
	}, func(i int, err error) {
		if i != 1 || !errors.Is(err, broken) {
			t.Errorf("measurement %d failed: %v", i, err)
		}
	})
	if want := []int{0, 1, 1, 1, 2}; err != nil || !slices.Equal(made, want) {
		t.Errorf("made %v, %v; want %v", made, err, want)
	}
}

func TestMeasureGivesUp(t *testing.T) {
	broken := errors.New("broken")
	made := 0
	fail := func(int) error { made++; return broken }
	if err := Measure(t.Context(), 2, fail, func(int, error) {}); !errors.Is(err, broken) ||
		made != 4 {
		t.Errorf("made %d, %v; want %d measurements and the error", made, err, maxFailures+1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	made = 0
	if err := Measure(ctx, 2, fail, func(int, error) {}); err == nil || made != 1 {
		t.Errorf("made %d after the context ended, %v", made, err)
	}
}
