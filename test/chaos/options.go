package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/draw"
)

// options say how many faults there are, and which course; or how long there is pressure instead.
type options struct {
	faults   int
	seed     uint64
	pressure time.Duration
}

// parseOptions reads FAULTS, SEED and PRESSURE.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{faults: 500}
	if text := getenv("FAULTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100_000 {
			return o, fmt.Errorf("read FAULTS: %q is not a number from 1 to 100000", text)
		}
		o.faults = n
	}
	if text := getenv("PRESSURE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > 24*time.Hour {
			return o, fmt.Errorf("read PRESSURE: %q is not a duration up to 24h, as 10m is", text)
		}
		o.pressure = d
	}
	var err error
	o.seed, err = draw.Seed(getenv)
	return o, err
}
