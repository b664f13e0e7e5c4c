package quorum

import (
	"slices"
	"time"
)

// An unanswered pre-vote is repeated after repeatPreVote, later each time, up to maxRepeatPreVote.
const (
	repeatPreVote    = 30 * time.Millisecond
	maxRepeatPreVote = 16 * repeatPreVote
)

// rankDelay spaces the followers, so that the first one claims alone (F4).
const rankDelay = 15 * time.Millisecond

// PreVote asks the voters whether they have lost the holder of a term, before a follower claims
// (F4). The zero value is ready for use.
type PreVote struct {
	term    Term
	seq     uint64
	askedAt time.Duration
	pause   time.Duration // before the next request about this term
	granted []string      // voters that have lost the holder
}

// Ask begins a round about a term and returns its number. It reports whether it is time for one.
func (p *PreVote) Ask(t Term, now time.Duration) (seq uint64, ok bool) {
	switch {
	case p.seq == 0 || p.term != t:
		p.pause = repeatPreVote
	case now < p.Next():
		return 0, false
	default:
		p.pause = min(2*p.pause, maxRepeatPreVote)
	}
	p.seq++
	p.term, p.askedAt, p.granted = t, now, nil
	return p.seq, true
}

// Next returns when the next round about the same term may begin.
func (p *PreVote) Next() time.Duration { return p.askedAt + p.pause }

// Grant counts a voter that has lost the holder, in the last round. It reports whether a majority
// of the voters has.
func (p *PreVote) Grant(from string, t Term, seq uint64, voters []string) bool {
	if seq != p.seq || t != p.term || !slices.Contains(voters, from) ||
		slices.Contains(p.granted, from) {
		return false
	}
	p.granted = append(p.granted, from)
	return Majority(len(p.granted), len(voters))
}

// End ends the round: later grants do not count, and the next round may begin at once.
func (p *PreVote) End() { p.term, p.pause, p.granted = Term{}, 0, nil }

// Rank returns how long an agent waits after the first sign that a holder is lost: 0 for the
// voter that follows the holder in the order of identities, 15 ms more for each further one, and
// most for an agent that is no voter (F4).
func Rank(id, holder string, voters []string) time.Duration {
	order := slices.Clone(voters)
	slices.Sort(order)
	order = slices.DeleteFunc(order, func(v string) bool { return v == holder })
	after, _ := slices.BinarySearch(order, holder)
	for i := range order {
		if order[(after+i)%len(order)] == id {
			return time.Duration(i) * rankDelay
		}
	}
	return time.Duration(len(order)) * rankDelay
}
