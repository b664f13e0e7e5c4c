package bgpsoak

import (
	"fmt"
	"strconv"

	"github.com/kvip/kvip/test/draw"
)

// options say how many faults there are, and which course.
type options struct {
	faults int
	seed   uint64
}

// parseOptions reads FAULTS and SEED.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{faults: 500}
	if text := getenv("FAULTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100_000 {
			return o, fmt.Errorf("read FAULTS: %q is not a number from 1 to 100000", text)
		}
		o.faults = n
	}
	var err error
	o.seed, err = draw.Seed(getenv)
	return o, err
}
