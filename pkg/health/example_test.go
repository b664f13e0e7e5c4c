package health_test

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/health"
)

// One failed /readyz is not worth a move of the virtual IP, two are. A closed port is.
func ExampleHysteresis() {
	var h health.Hysteresis
	now := time.Hour
	step := func(outcome health.Outcome, detail string) {
		state := h.Step(health.Observation{Outcome: outcome, Detail: detail}, now)
		fmt.Printf("%-9s %-9s %s\n", state.Verdict, state.Code, state.Reason)
		now += 100 * time.Millisecond
	}
	for range 5 {
		step(health.OutcomeOK, "ready")
	}
	step(health.OutcomeNotReady, "failed checks: etcd")
	step(health.OutcomeNotReady, "failed checks: etcd")
	step(health.OutcomeRefused, "connection refused")
	// Output:
	// unknown   unknown   the API server's health is not known yet
	// unknown   unknown   the API server's health is not known yet
	// unknown   unknown   the API server's health is not known yet
	// unknown   unknown   the API server's health is not known yet
	// healthy   ok        the API server is ready
	// healthy   ok        the API server is ready
	// not-ready not-ready the API server is not ready: failed checks: etcd
	// dead      refused   the API server does not listen: connection refused
}
