package liveness_test

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/liveness"
)

// A node judges its peers while its own renewals are confirmed and seen back.
func ExampleFailureDetector() {
	d, err := liveness.NewFailureDetector("a")
	if err != nil {
		panic(err)
	}
	duration := liveness.Duration(2)
	// renew confirms a renewal of a, and observes the Leases of a and b.
	renew := func(now time.Duration, a, b string) {
		d.RecordRenewal(liveness.Renewal{Version: a, Sent: now, Duration: duration}, now)
		d.Sync([]liveness.ObservedLease{
			{Node: "a", Version: a, Duration: duration},
			{Node: "b", Version: b, Duration: duration},
		}, now)
	}
	show := func(now time.Duration) {
		view := d.View(now)
		fmt.Printf("%v: fresh %v, alive %v\n", now, view.Fresh, view.Alive)
	}
	renew(1*time.Second, "a1", "b1")
	show(1 * time.Second) // b may have died long ago
	renew(2*time.Second, "a2", "b2")
	show(2 * time.Second)
	for now := 3 * time.Second; now <= 7*time.Second; now += time.Second {
		renew(now, fmt.Sprint("a", now), "b2") // b is silent
	}
	show(7 * time.Second)
	show(60 * time.Second) // an outage: the last view stands
	// Output:
	// 1s: fresh false, alive []
	// 2s: fresh true, alive [a b]
	// 7s: fresh true, alive [a]
	// 1m0s: fresh false, alive [a]
}
