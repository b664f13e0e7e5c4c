package speaker

import (
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// conflictLogInterval is the time between two log messages about one host that claims an
	// address.
	conflictLogInterval = time.Minute
	// maxFailuresLogged and maxConflictsLogged bound what is remembered as logged. A flood of
	// invented MACs must not fill the memory.
	maxFailuresLogged, maxConflictsLogged = 100, 1000
)

// recorder writes the log and the metrics of a Speaker. It logs a lasting state once.
type recorder struct {
	cfg       *Config
	failures  map[string]bool          // logged since the last recovery
	conflicts map[string]time.Duration // by address and MAC: when logged
	foreign   string
	linkless  bool
}

func newRecorder(cfg *Config) *recorder {
	return &recorder{
		cfg: cfg, failures: map[string]bool{}, conflicts: map[string]time.Duration{},
	}
}

// changed records which addresses this host gained and lost. before and after are the addresses on
// the host, also those that could not be removed: they are lost once they are gone. next are those
// that this node is to have. Shared ones are not recorded: the control plane announces them.
func (r *recorder) changed(before, after, next assignments) {
	having, going := 0, 0
	for _, a := range next {
		switch a.phase {
		case owned, adopted:
			having++
		case leaving:
			going++
		}
	}
	r.cfg.Metrics.ServiceAddresses(having, going)
	for _, addr := range next.missing(before) {
		if a := next[addr]; a.phase != shared {
			r.cfg.Metrics.ServiceMoved("acquired")
			r.cfg.Log.Info("announcing address", "address", addr, "link", a.Link.Name,
				"reason", a.reason.Sentence())
		}
	}
	for _, addr := range before.missing(after) {
		if before[addr].phase == shared {
			continue
		}
		r.cfg.Metrics.ServiceMoved("released")
		r.cfg.Log.Info("released address", "address", addr)
	}
}

// failure logs an error once, in brief: it may name thousands of addresses.
func (r *recorder) failure(err error) {
	if err == nil {
		return
	}
	text := svc.Brief(err.Error())
	if r.failures[text] {
		return
	}
	if len(r.failures) == maxFailuresLogged {
		clear(r.failures)
	}
	r.failures[text] = true
	r.cfg.Log.Warn("cannot serve all addresses; trying again", "reason", text)
}

// recovered forgets which failures were logged.
func (r *recorder) recovered() { clear(r.failures) }

func (r *recorder) adopted(count int) {
	if count > 0 {
		r.cfg.Log.Info("keeping addresses of an earlier process until a fresh view decides who owns them",
			"count", count)
	}
}

// foreignHolder logs that another program announces Services (S9).
func (r *recorder) foreignHolder(holder string) {
	if holder != r.foreign && holder != "" {
		r.cfg.Log.Warn("another program announces Services; this node announces none until it stops",
			"reason", "the lease is held by "+holder)
	}
	r.foreign = holder
}

// noLink logs that the configuration selects no link that this host has.
func (r *recorder) noLink(none bool) {
	if none && !r.linkless {
		r.cfg.Log.Warn("no usable link matches --services-interface: "+
			"this node announces only addresses of Services that name another link",
			"pattern", r.cfg.Interface)
	}
	r.linkless = none
}

// conflict records that another host claims an address that this node defends. node is the kvip
// node of that host, "" if it is a foreign one.
func (r *recorder) conflict(c arp.Conflict, node string) {
	r.cfg.Metrics.ServiceConflict()
	key, now := c.Addr.String()+" "+c.MAC.String(), r.cfg.Clock()
	if at, ok := r.conflicts[key]; ok && now-at < conflictLogInterval {
		return
	}
	if len(r.conflicts) > maxConflictsLogged {
		clear(r.conflicts)
	}
	r.conflicts[key] = now
	r.cfg.Log.Warn("another host claims an address of this node; defending it",
		"address", c.Addr, "reason", claimant(c, node))
}

// yielded records that this node gives up an address that another host claims.
func (r *recorder) yielded(c arp.Conflict, node string) {
	r.cfg.Log.Warn("another host claims an address that no fresh view has confirmed; "+
		"releasing it until one does",
		"address", c.Addr, "reason", claimant(c, node))
}

func claimant(c arp.Conflict, node string) string {
	if node == "" {
		return "claimed by " + c.MAC.String() + ", which is in no kvip node's Lease"
	}
	return "claimed by node " + node + " (" + c.MAC.String() + ")"
}

type noMetrics struct{}

func (noMetrics) ServiceAddresses(int, int) {}
func (noMetrics) ServiceMoved(string)       {}
func (noMetrics) ServiceConflict()          {}
