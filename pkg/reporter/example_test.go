package reporter_test

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/reporter"
)

// A component that waits for its API server is not ready, which is no reason to restart it. It is
// restarted if its loop hangs.
func ExampleRegistry() {
	now := time.Hour
	registry := reporter.NewRegistry(func() time.Duration { return now })
	driver := registry.Component("lease driver")

	driver.Heartbeat()
	driver.Stopped("read lease: connection refused")
	fmt.Printf("stuck: %q, not ready: %q\n", registry.Stuck(), registry.NotReady())

	driver.OK()
	now += 20 * time.Second
	fmt.Printf("stuck: %q, not ready: %q\n", registry.Stuck(), registry.NotReady())
	// Output:
	// stuck: "", not ready: "read lease: connection refused"
	// stuck: "lease driver has made no progress for 20s", not ready: ""
}
