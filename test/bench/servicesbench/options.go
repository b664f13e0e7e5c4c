package servicesbench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxServices is how many addresses the pool has room for.
const maxServices = 8000

// options say what to measure.
type options struct {
	runs   int
	counts []int // of Services, ascending
}

// parseOptions reads RUNS and N, a list with commas.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{runs: 3, counts: []int{10, 100, 1000, 5000}}
	var err error
	if text := getenv("RUNS"); text != "" {
		if o.runs, err = strconv.Atoi(text); err != nil || o.runs < 0 {
			return o, fmt.Errorf("read RUNS: %q is not a number of runs", text)
		}
	}
	list := strings.FieldsFunc(getenv("N"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(list) == 0 {
		return o, nil
	}
	o.counts = nil
	for _, text := range list {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxServices {
			return o, fmt.Errorf("read N: %q is not a number of Services from 1 to %d", text, maxServices)
		}
		o.counts = append(o.counts, n)
	}
	slices.Sort(o.counts)
	o.counts = slices.Compact(o.counts)
	return o, nil
}
