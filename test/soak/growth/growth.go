// Package growth judges whether a process grew: soaks measure it again and again at rest.
package growth

import (
	"fmt"
	"slices"
)

// Minimum is how many values a judgement needs.
const Minimum = 3

// Check is an error if the values grew: the median of the last third must not exceed that of the
// first by more than the factor and the slack. what is their unit.
func Check(what string, values []float64, factor, slack float64) error {
	if len(values) < Minimum {
		return fmt.Errorf("judge growth: %d values of %s, want %d: let it run for longer", len(values),
			what, Minimum)
	}
	third := len(values) / 3
	before, after := median(values[:third]), median(values[len(values)-third:])
	if after > before*factor+slack {
		return fmt.Errorf("the agent grew from %.1f to %.1f %s", before, after, what)
	}
	return nil
}

func median(values []float64) float64 {
	list := slices.Sorted(slices.Values(values))
	return list[len(list)/2]
}
