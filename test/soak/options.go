package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/draw"
)

// options say how long, how many and which course.
type options struct {
	duration time.Duration
	services int
	seed     uint64
}

// parseOptions reads MINUTES, which may have a fraction, SERVICES and SEED.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{duration: 30 * time.Minute, services: 150}
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
	var err error
	o.seed, err = draw.Seed(getenv)
	return o, err
}
