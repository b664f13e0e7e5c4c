package fence

import (
	"net/netip"
	"strings"

	"github.com/kvip/kvip/pkg/netdev"
)

// Cleanup removes the tables of VIPs, or without VIPs all tables of this package, that processes
// left behind. It returns their names. A table of a live process is an error: it has the owner
// flag.
func Cleanup(vips []netip.Addr) (removed []string, err error) {
	matching := func(name string) bool { return matches(name, vips) }
	return netdev.Cleanup(matching, Full.flags(), Flushable.flags())
}

// matches reports whether a table fences one of vips, or any address if there are none.
func matches(table string, vips []netip.Addr) bool {
	name, _, _ := strings.Cut(table, probeMark)
	return netdev.IsTableOf(name, tablePrefix, vips)
}
