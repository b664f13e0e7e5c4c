package agent

import (
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/vip"
)

// Cleanup removes what a killed agent left on this host: every address with kvip's mark,
// or only those of list where it is not empty. It returns what was removed, also when
// something else could not be.
func Cleanup(list []netip.Addr) (removed []string, err error) {
	gone, err := vip.Cleanup(list)
	for _, m := range gone {
		removed = append(removed, fmt.Sprintf("%s from %s", m.VIP, m.LinkName))
	}
	return removed, err
}
