package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
)

// Cleanup removes what a killed agent left on this host: all addresses with kvip's mark, their
// fences and the packet filter of the Services, or only the addresses of a list that is not empty.
// It returns what was removed, with an error too. The tables of pkg/relay ended with the process.
func Cleanup(list []netip.Addr) (removed []string, err error) {
	addresses, err := vip.Cleanup(list)
	for _, m := range addresses {
		removed = append(removed, fmt.Sprintf("%s from %s", m.Addr, m.LinkName))
	}
	if err == nil { // else a running agent has them
		var fences []string
		fences, err = fence.Cleanup(list)
		for _, name := range fences {
			removed = append(removed, "nftables table netdev "+name)
		}
	}
	if len(list) > 0 {
		return removed, err
	}
	table, filterErr := cleanFilter()
	return append(removed, table...), errors.Join(err, filterErr)
}

// cleanFilter removes the packet filter, unless a running agent uses it.
func cleanFilter() (removed []string, err error) {
	lock, err := vip.LockServices()
	if errors.Is(err, vip.ErrLocked) {
		return nil, nil // vip.Cleanup reports it if there was anything to remove
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	installed, err := nftfilter.Installed()
	if err != nil || !installed {
		return nil, err
	}
	if err := nftfilter.Cleanup(); err != nil {
		return nil, err
	}
	return []string{"nftables table inet " + nftfilter.Table}, nil
}
