package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// options say how many faults there are, and which course.
type options struct {
	faults int
	seed   uint64
}

// parseOptions reads FAULTS and SEED.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{faults: 500, seed: rand.Uint64()}
	if text := getenv("FAULTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100_000 {
			return o, fmt.Errorf("read FAULTS: %q is not a number from 1 to 100000", text)
		}
		o.faults = n
	}
	if text := getenv("SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return o, fmt.Errorf("read SEED: %q is not a whole number", text)
		}
		o.seed = seed
	}
	return o, nil
}
