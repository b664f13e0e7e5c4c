package relay

import (
	"cmp"
	"net"
	"slices"
	"time"
)

const (
	// freshFor is how long a host or a connection counts after it was named last. Hosts name theirs
	// each second.
	freshFor = 3 * time.Second
	// maxHosts limits the hosts that are remembered.
	maxHosts = 32
)

// Lists has the connections that other hosts have named lately. The zero value is ready. It is not
// safe for concurrent use.
type Lists struct {
	hosts map[string]*list // by the agent's identity
}

// list is what one host has named.
type list struct {
	term  int64 // of the tenure that ended
	mac   net.HardwareAddr
	at    time.Duration
	flows map[Flow]time.Duration // when each was named last
}

// Note takes a payload of Encode from an agent, whose tenure of a term ended. One of an older term
// than the agent's last one is ignored.
func (l *Lists) Note(agent string, term int64, payload string, now time.Duration) error {
	mac, flows, err := decode(payload)
	if err != nil {
		return err
	}
	h := l.hosts[agent]
	switch {
	case h != nil && term < h.term && now-h.at < freshFor, h == nil && len(l.hosts) == maxHosts:
		return nil
	case h == nil:
		h = &list{flows: map[Flow]time.Duration{}}
		if l.hosts == nil {
			l.hosts = map[string]*list{}
		}
		l.hosts[agent] = h
	}
	h.term, h.mac, h.at = term, mac, now
	for _, f := range flows { // those that have expired are removed by Hosts
		if _, known := h.flows[f]; known || len(h.flows) < maxListed {
			h.flows[f] = now
		}
	}
	return nil
}

// Hosts returns the hosts that have named themselves lately, that with the highest term first.
func (l *Lists) Hosts(now time.Duration) (hosts []Host) {
	l.expire(now)
	lists := make([]*list, 0, len(l.hosts))
	for _, h := range l.hosts {
		lists = append(lists, h)
	}
	slices.SortFunc(lists, func(a, b *list) int {
		return cmp.Or(cmp.Compare(b.term, a.term), slices.Compare(a.mac, b.mac))
	})
	for _, h := range lists {
		flows := make([]Flow, 0, len(h.flows))
		for f := range h.flows {
			flows = append(flows, f)
		}
		hosts = append(hosts, Host{MAC: h.mac, Flows: ordered(flows)})
	}
	return hosts
}

// expire removes what was not named lately.
func (l *Lists) expire(now time.Duration) {
	for agent, h := range l.hosts {
		if now-h.at >= freshFor {
			delete(l.hosts, agent)
			continue
		}
		for f, at := range h.flows {
			if now-at >= freshFor {
				delete(h.flows, f)
			}
		}
	}
}
