package vip

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// destroyAtOnce bounds the requests that are kept for one exchange: there may be tens of thousands of
// connections.
const destroyAtOnce = 16 * batch

// destroy returns how many it destroyed; one that was closed meanwhile is no error. After a failure it
// goes no further than the connections at hand.
func destroy(list []link.Socket) (int, error) {
	count := 0
	for part := range slices.Chunk(list, destroyAtOnce) {
		destroyed, err := destroySome(part)
		count += destroyed
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

func destroySome(list []link.Socket) (int, error) {
	requests := make([]*nl.NetlinkRequest, len(list))
	for i, c := range list {
		requests[i] = nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		requests[i].AddRawData(link.SocketRequest(c.Family, 0, c.ID))
	}
	count := 0
	var errs []error
	for i, a := range exchange(unix.NETLINK_INET_DIAG, requests) {
		switch {
		case a.err == nil:
			count++
		case errors.Is(a.err, unix.EOPNOTSUPP):
			return count, fmt.Errorf("destroy connections: %w (the kernel lacks CONFIG_INET_DIAG_DESTROY)", a.err)
		case errors.Is(a.err, errNoAnswer): // so have all the others
			return count, fmt.Errorf("destroy connections: %w", a.err)
		case !errors.Is(a.err, unix.ENOENT):
			errs = append(errs, fmt.Errorf("destroy connection %s to %s: %w", list[i].Local, list[i].Remote, a.err))
		}
	}
	return count, errors.Join(errs[:min(len(errs), batch)]...)
}
