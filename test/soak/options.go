package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// options say how long, how many and which course.
type options struct {
	duration time.Duration
	services int
	seed     uint64
}

// parseOptions reads MINUTES, which may have a fraction, SERVICES and SEED.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{duration: 30 * time.Minute, services: 150, seed: rand.Uint64()}
	if text := getenv("MINUTES"); text != "" {
		minutes, err := strconv.ParseFloat(text, 64)
		if err != nil || !(minutes > 0 && minutes <= 24*60) {
			return o, fmt.Errorf("read MINUTES: %q is not a number of minutes, a day at most", text)
		}
		o.duration = time.Duration(minutes * float64(time.Minute))
	}
	if text := getenv("SERVICES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 || n > 5000 {
			return o, fmt.Errorf("read SERVICES: %q is not a number of Services from 2 to 5000", text)
		}
		o.services = n
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
