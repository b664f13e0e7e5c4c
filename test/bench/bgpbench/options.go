package bgpbench

import (
	"fmt"
	"strconv"

	"github.com/kvip/kvip/test/benchreport"
)

// options say what to measure.
type options struct {
	runs     int
	speakers []string
	faults   []string // keys, in the order of faults
}

// parseOptions reads RUNS, TOOL and FAULT, of which the latter two are lists with commas and mean
// everything when they are empty.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{runs: 20}
	var err error
	if text := getenv("RUNS"); text != "" {
		if o.runs, err = strconv.Atoi(text); err != nil || o.runs < 0 {
			return o, fmt.Errorf("read RUNS: %q is not a number of runs", text)
		}
	}
	if o.speakers, err = benchreport.Choose("TOOL", getenv("TOOL"), speakerNames); err != nil {
		return o, err
	}
	var keys []string
	for _, f := range faults() {
		keys = append(keys, f.key)
	}
	o.faults, err = benchreport.Choose("FAULT", getenv("FAULT"), keys)
	return o, err
}
