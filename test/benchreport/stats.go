package benchreport

import "context"

// Percentile is the nearest rank: the smallest value that at least p percent of the values do
// not exceed. Values are sorted and not empty; p is from 1 to 100.
func Percentile[T any](sorted []T, p int) T {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// maxFailures is how often in a row a measurement may fail before a benchmark gives up.
const maxFailures = 3

// Measure makes n measurements in order and repeats one that fails. failed is called before each
// repetition. It returns the error of a measurement that failed too often, or when ctx ends.
func Measure(ctx context.Context, n int, measure func(i int) error,
	failed func(i int, err error)) error {
	failures := 0
	for i := 0; i < n; {
		err := measure(i)
		switch {
		case err == nil:
			failures = 0
			i++
		case ctx.Err() != nil || failures == maxFailures:
			return err
		default:
			failures++
			failed(i, err)
		}
	}
	return nil
}
