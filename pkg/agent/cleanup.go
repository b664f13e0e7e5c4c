package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
)

// Cleanup removes what a killed agent left on this host: every address with kvip's mark and the packet
// filter of the Services, or only the addresses of list where it is not empty. It returns what was
// removed, also when something else could not be.
func Cleanup(list []netip.Addr) (removed []string, err error) {
	gone, err := vip.Cleanup(list)
	for _, m := range gone {
		removed = append(removed, fmt.Sprintf("%s from %s", m.VIP, m.LinkName))
	}
	if len(list) > 0 {
		return removed, err
	}
	table, filterErr := cleanFilter()
	return append(removed, table...), errors.Join(err, filterErr)
}

// cleanFilter removes the packet filter, unless an agent that runs has it.
func cleanFilter() (removed []string, err error) {
	lock, err := vip.LockServices()
	if errors.Is(err, vip.ErrLocked) {
		return nil, nil // vip.Cleanup has said so, if there was anything to remove
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	there, err := nftfilter.Installed()
	if err != nil || !there {
		return nil, err
	}
	return []string{"nftables table inet " + nftfilter.Table}, nftfilter.Cleanup()
}
