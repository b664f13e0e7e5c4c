package allocator

import (
	"log/slog"
	"sync"
)

// rights names each missing right once (S9).
type rights struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[string]bool
}

func newRights(log *slog.Logger) *rights { return &rights{log: log, told: map[string]bool{}} }

// missing says that a right is not there, and what happens instead.
func (r *rights) missing(right, instead string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told[right] {
		r.told[right] = true
		r.log.Warn("a right is missing: "+right+"; "+instead, "reason", err)
	}
}
