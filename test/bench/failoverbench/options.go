package failoverbench

import (
	"fmt"
	"strconv"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// idleKey stands beside the faults' keys for the measurement of idle agents.
const idleKey = "idle"

var toolNames = []string{failover.KvipName, failover.KvipQuick, failover.KeepalivedName}

// options say what to measure.
type options struct {
	runs   int
	tools  []string
	faults []string // keys, in the order of failover.Faults; idleKey is the last
}

// parseOptions reads RUNS, TOOL and FAULT, of which the latter two are lists with commas and
// mean everything when they are empty.
func parseOptions(getenv func(string) string) (options, error) {
	o := options{runs: 20}
	var err error
	if text := getenv("RUNS"); text != "" {
		if o.runs, err = strconv.Atoi(text); err != nil || o.runs < 0 {
			return o, fmt.Errorf("read RUNS: %q is not a number of runs", text)
		}
	}
	if o.tools, err = benchreport.Choose("TOOL", getenv("TOOL"), toolNames); err != nil {
		return o, err
	}
	var keys []string
	for _, f := range failover.Faults() {
		keys = append(keys, f.Key)
	}
	o.faults, err = benchreport.Choose("FAULT", getenv("FAULT"), append(keys, idleKey))
	return o, err
}
