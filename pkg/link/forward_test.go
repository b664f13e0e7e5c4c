package link

import (
	"os"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

// TestForwards reads both families' switches in a network namespace of its own.
func TestForwards(t *testing.T) {
	testutil.NewNetns(t)
	for family4, path := range map[bool]string{true: "/proc/sys/net/ipv4/ip_forward", false: "/proc/sys/net/ipv6/conf/all/forwarding"} {
		for value, want := range map[string]bool{"0": false, "1": true} {
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			if got, err := Forwards(family4); err != nil || got != want {
				t.Errorf("%s is %s: got %v, %v", path, value, got, err)
			}
		}
	}
}
