package advertiser

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/link"
)

const (
	// retryInterval is the shortest time between two retries because of links.
	retryInterval = time.Second
	// rediscoverInterval is how often routers are discovered, and next hops found, without an event
	// of a link: a default route may change, and a router may advertise itself later.
	rediscoverInterval = 10 * time.Second
)

// discover finds the address of a peer.
func discover(d bgp.Discovery) (netip.Addr, error) {
	if d.Gateway {
		return link.Gateway(d.Family == bgp.IPv4)
	}
	return link.Router(d.Interface)
}

// LinkAddress returns an address of a family on the link that has another one, and the zero Addr if
// there is none.
func LinkAddress(local netip.Addr, f bgp.Family) (netip.Addr, error) {
	networks, err := link.Networks()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, n := range networks {
		if n.Name != local.Zone() && !slices.Contains(n.Addresses, local) {
			continue
		}
		for _, a := range n.Addresses {
			if bgp.FamilyOf(a) == f {
				return a, nil
			}
		}
	}
	return netip.Addr{}, nil
}

// followLinks lets peers try again when a link with an address changes (B14), and finds routers and
// next hops again when addresses change, until ctx ends.
func (a *Advertiser) followLinks(ctx context.Context) error {
	period := time.NewTicker(rediscoverInterval)
	defer period.Stop()
	known, _ := routedLinks()
	for {
		retry := false
		select {
		case <-ctx.Done():
			return nil
		case <-period.C:
		case ev := <-a.watcher.Events():
			if ev.Link == "lo" { // the addresses that are announced
				continue
			}
			now, err := routedLinks()
			retry = err == nil && !reflect.DeepEqual(now, known)
			if retry {
				known = now
			}
		}
		if a.rediscover(); retry {
			a.speaker.Retry()
		}
		a.speaker.Refresh()
		if !backoff.Sleep(ctx, retryInterval) {
			return nil
		}
	}
}

// routedLinks returns the usable links with a network, and none of pods: those come and go by the
// hundred.
func routedLinks() ([]link.Network, error) {
	networks, err := link.Networks()
	return slices.DeleteFunc(networks, func(n link.Network) bool { return len(n.Addresses) == 0 }), err
}
