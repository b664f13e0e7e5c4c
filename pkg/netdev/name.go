package netdev

import (
	"net/netip"
	"slices"
	"strings"
)

// TableName returns the name of an address's table, which nft(8) accepts without quotes.
func TableName(prefix string, vip netip.Addr) string {
	return prefix + strings.ReplaceAll(vip.Unmap().String(), ":", "-")
}

// IsTableOf reports whether a table has the name of one of vips, or of any address if there are
// none.
func IsTableOf(name, prefix string, vips []netip.Addr) bool {
	return strings.HasPrefix(name, prefix) && (len(vips) == 0 ||
		slices.ContainsFunc(vips, func(a netip.Addr) bool { return TableName(prefix, a) == name }))
}
