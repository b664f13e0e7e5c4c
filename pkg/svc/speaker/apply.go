package speaker

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
)

// Faults that affect all addresses.
const (
	filterFault    = "filter"
	addressesFault = "addresses"
)

// applier makes kernel, packet filter and announcements agree with the assignments.
type applier struct {
	cfg      *Config
	host     *host
	recorder *recorder

	paused  bool // there was a pause since the last reconcile
	have    assignments
	remains assignments // what could not be removed from the host: it stays protected (S5)
	faults  faults

	confirmed bool                             // a fresh view has decided; see confirmFilter
	filtered  map[netip.Addr][]assignment.Port // as the filter was written last
	filterAt  time.Duration                    // of the next write of an unchanged filter
}

func newApplier(cfg *Config, h *host, r *recorder) *applier {
	return &applier{
		cfg: cfg, host: h, recorder: r, have: assignments{}, remains: assignments{},
		faults: newFaults(),
	}
}

// confirmFilter enables writes of the filter. Before a fresh view has decided, the ports
// that an earlier process allowed are not known, and its table stays as it is (S6).
func (p *applier) confirmFilter() {
	if !p.confirmed {
		p.confirmed, p.filterAt = true, 0
	}
}

// due reports whether there is something to apply although no input changed.
func (p *applier) due(now time.Duration) bool {
	return p.have.anyExpired(now) || now >= p.filterAt
}

// apply makes the host agree with next, in this order: stop announcing, protect, own, announce. So
// no address is unprotected, none is announced before it is on the host, and none is removed while
// it is announced. The order holds after an error, too: an address that the filter does not
// protect is not put on the host (S5). It returns an error for each address that it could not
// remove.
func (p *applier) apply(next assignments, s snapshot) []error {
	p.completeAssignments(next, s)
	p.withhold(next)
	gained, lost := next.missing(p.have), p.have.missing(next)
	if len(lost) > 0 {
		p.announce(next.where(func(a assigned) bool { return p.have.has(a.Addr) }))
	}
	if len(gained) > 0 || len(lost) > 0 || p.filterOutdated(next) {
		if !p.protect(p.have.union(next), s) {
			p.refuseNew(next)
		}
		p.beat()
	}
	before := p.remains.union(p.have)
	errs := p.own(next)
	if len(lost) > 0 {
		p.beat()
		p.protect(next, s)
	}
	p.announce(next)
	p.recorder.changed(before, p.remains.union(next), next)
	p.have = next
	p.faults.expire(p.cfg.Clock())
	return errs
}

// beat sends a heartbeat: filter and addresses of thousands of Services take a while. After a pause
// the one at the end of the reconcile is the first (B6).
func (p *applier) beat() {
	if !p.paused {
		p.cfg.Health.Heartbeat()
	}
}

// completeAssignments sets what depends on the snapshot and on this host's links. An address whose
// link is gone goes with it.
func (p *applier) completeAssignments(next assignments, s snapshot) {
	for addr, a := range next {
		l, ok := p.host.link(a.Link.Name)
		if !ok && a.phase != shared {
			delete(next, addr)
			continue
		}
		if ok {
			a.Link = l
		}
		a.Services, a.Ports = s.serviceNames(addr), s.ports(addr)
		if a.routed() {
			a.route = s.route(addr, a.worse)
		}
		next[addr] = a
	}
}

// withhold removes from next what failed a short time ago. It is retried at growing intervals.
func (p *applier) withhold(next assignments) {
	p.faults.chosen = map[netip.Addr]bool{}
	for addr, a := range next {
		if a.phase == shared || p.have.has(addr) {
			continue
		}
		p.faults.chosen[addr] = true
		if p.faults.backingOff(addr, p.cfg.Clock()) {
			delete(next, addr)
		}
	}
}

// refuseNew removes from next what is not on this host yet.
func (p *applier) refuseNew(next assignments) {
	maps.DeleteFunc(next, func(addr netip.Addr, a assigned) bool {
		return a.phase != shared && !p.have.has(addr)
	})
}

// own makes the kernel have the addresses of next. It removes from next what the kernel refuses,
// and all new addresses if the kernel does nothing at all. It returns an error for each address
// that could not be removed.
func (p *applier) own(next assignments) (errs []error) {
	err := p.cfg.Addresses.Sync(next.list())
	failures, now := vip.AddressErrors(err), p.cfg.Clock()
	if len(failures) == 0 || p.faults.anyNew(failures) {
		p.recorder.failure(err)
	}
	if err != nil && len(failures) == 0 {
		p.faults.failHost(addressesFault, err, now)
		p.refuseNew(next)
		gone := p.have.where(func(a assigned) bool { return !next.has(a.Addr) })
		p.remains = p.remains.union(gone)
		return nil
	}
	p.faults.clearHost(addressesFault)
	before := p.remains.union(p.have)
	p.remains = assignments{}
	for _, f := range failures {
		addr := f.Address.Addr
		wanted := next.has(addr)
		if a := before[addr]; (before.has(addr) || !wanted) && a.phase != shared {
			a.Addr = addr
			p.remains[addr] = a
		}
		if !wanted {
			errs = append(errs, f)
			continue
		}
		p.faults.fail(addr, f, now)
		p.faults.chosen[addr] = true
		delete(next, addr)
	}
	for addr := range next {
		p.faults.clear(addr)
	}
	return errs
}

// protect restricts the addresses to the ports of their Services (S5), and reports whether the
// filter protects all of them now.
func (p *applier) protect(all assignments, s snapshot) bool {
	now := p.cfg.Clock()
	if !p.confirmed {
		p.filterAt = now + filterInterval
		return true
	}
	if p.faults.hostBackingOff(filterFault, now) {
		return false
	}
	list := p.remains.union(all).list()
	ports := make(map[netip.Addr][]assignment.Port, len(list))
	for i, a := range list {
		list[i].Ports = s.ports(a.Addr)
		ports[a.Addr] = list[i].Ports
	}
	err := p.cfg.Filter.Apply(list)
	p.recorder.failure(err)
	if errors.Is(err, nftfilter.ErrNotWritten) {
		p.filterAt = p.faults.failHost(filterFault, err, now)
		return false
	}
	p.faults.clearHost(filterFault)
	p.filtered, p.filterAt = ports, now+filterInterval
	return true
}

// filterOutdated reports whether the filter has other ports than it should, or its timeouts are to
// be renewed.
func (p *applier) filterOutdated(next assignments) bool {
	if p.cfg.Clock() >= p.filterAt {
		return true
	}
	return p.confirmed && slices.ContainsFunc(next.list(), func(a assignment.Assignment) bool {
		ports, known := p.filtered[a.Addr]
		return !known || !slices.Equal(ports, a.Ports)
	})
}

// announce replaces the announcements: to neighbours and, once a fresh view has decided, to
// routers, which may have kept the routes of an earlier process until then (B9).
func (p *applier) announce(all assignments) {
	p.cfg.Announcer.Set(all.neighbours().list())
	if p.confirmed {
		p.cfg.Routes.SetAddresses(advertiser.Services, all.routes())
	}
}

// clear removes everything from this host, the filter only after the addresses that it protects
// (S5).
func (p *applier) clear() error {
	p.announce(nil)
	if err := p.cfg.Addresses.Clear(); err != nil {
		return err
	}
	p.have = assignments{}
	return p.cfg.Filter.Remove()
}
