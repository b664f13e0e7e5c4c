package main

import (
	"strings"
	"testing"
)

func TestUnknownBenchmark(t *testing.T) {
	for _, name := range []string{"", "idle"} {
		err := run(t.Context(), name, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "failover|services") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
