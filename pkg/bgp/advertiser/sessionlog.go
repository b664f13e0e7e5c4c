package advertiser

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/kvip/kvip/pkg/bgp"
)

// sessionLog logs when sessions begin and end, and why one does not come up: each reason once.
type sessionLog struct {
	log *slog.Logger

	mu     sync.Mutex
	up     map[string]bool
	failed map[string]string // the reason that was logged last
}

func newSessionLog(log *slog.Logger) *sessionLog {
	return &sessionLog{log: log, up: map[string]bool{}, failed: map[string]string{}}
}

// record logs a change. It reports whether the session came up or ended.
func (l *sessionLog) record(s bgp.Status) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.log.With("peer", s.Name, "address", s.Address)
	reason := fmt.Sprintf("%s: %s", s.Code, s.Reason)
	key := reason
	if s.Code == bgp.ReasonReset || s.Code == bgp.ReasonConnectionLost {
		key = string(s.Code) // the text has a port that differs each time
	}
	switch up := s.Established(); {
	case up && !l.up[s.Name]:
		log.Info("BGP session up", "as", s.PeerAS, "hold-time", s.HoldTime)
		l.up[s.Name], l.failed[s.Name] = true, ""
		changed = true
	case !up && l.up[s.Name]:
		log.Warn("BGP session down", "reason", reason)
		l.up[s.Name], l.failed[s.Name] = false, key
		changed = true
	case s.State == bgp.Idle && s.Reason != "" && key != l.failed[s.Name]:
		log.Warn("no BGP session; trying again", "reason", reason)
		l.failed[s.Name] = key
	}
	if s.Code == bgp.ReasonConfiguration || s.Code == bgp.ReasonStopped {
		delete(l.up, s.Name) // the peer may be gone for good
		delete(l.failed, s.Name)
	}
	return changed
}
