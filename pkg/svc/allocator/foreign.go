package allocator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// takeOnce is for how long a status is not taken over again: a program that writes it all the time keeps it.
const takeOnce = 10 * time.Minute

// kubeVIPManager is kube-vip's name as the owner of fields.
const kubeVIPManager = "kube-vip"

// takeover is a status of another program that kvip takes over.
type takeover struct {
	at   time.Duration
	done bool // it was kvip's since
}

// claims says whose the statuses of Services are.
type claims struct {
	taken map[ipam.Owner]takeover
}

// foreign returns the program that has the status of s, "" if kvip may write it. A status of kube-vip's is taken
// over, and so is one with the addresses that the ledger has for s: once, so that two programs that believe to
// be the one do not overwrite each other for ever.
func (c *claims) foreign(s *svc.Service, l ipam.Ledger, now time.Duration) string {
	owner := s.Owner()
	t, had := c.taken[owner]
	if len(s.StatusBy) == 0 {
		switch {
		case had && now-t.at > takeOnce:
			delete(c.taken, owner)
		case had:
			c.taken[owner] = takeover{t.at, true}
		}
		return ""
	}
	may := !byOthers(s) || hasAll(l, owner, s)
	if !may || had && t.done && now-t.at <= takeOnce {
		return strings.Join(s.StatusBy, ", ")
	}
	if !had || t.done {
		c.taken[owner] = takeover{at: now}
	}
	return ""
}

// byOthers reports whether a program that is neither kvip nor kube-vip has written the status of s.
func byOthers(s *svc.Service) bool {
	return slices.ContainsFunc(s.StatusBy, func(m string) bool { return m != kubeVIPManager })
}

// hasAll reports whether the ledger has all the addresses of the status for the Service.
func hasAll(l ipam.Ledger, owner ipam.Owner, s *svc.Service) bool {
	for _, a := range s.Status {
		if !slices.ContainsFunc(l[a], func(h ipam.Holder) bool { return h.Owner == owner }) {
			return false
		}
	}
	return len(s.Status) > 0
}

// forget drops what is known of Services that are gone.
func (c *claims) forget(services []*svc.Service) {
	if len(c.taken) == 0 {
		return
	}
	rest := map[ipam.Owner]takeover{}
	for _, s := range services {
		if t, had := c.taken[s.Owner()]; had {
			rest[s.Owner()] = t
		}
	}
	c.taken = rest
}

// others returns who has the status of each Service of kvip's that is another program's: whoever wrote
// it, or a kube-vip that has an election of its own for the Service.
func (a *Allocator) others(services []*svc.Service, l ipam.Ledger) map[ipam.Owner]string {
	a.claims.forget(services)
	now := a.cfg.Clock()
	all, electing := map[ipam.Owner]string{}, a.elections.holders(now, l)
	for _, s := range services {
		if !s.Managed {
			continue
		}
		if holder := electing[s.Owner()]; holder != "" {
			all[s.Owner()] = fmt.Sprintf("kube-vip at %s, which renews lease %s/%s%s", holder, s.Namespace, electionPrefix, s.Name)
			continue
		}
		if who := a.claims.foreign(s, l, now); who != "" {
			all[s.Owner()] = who
		}
	}
	return all
}
