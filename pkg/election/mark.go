package election

import (
	"slices"
	"strings"
	"time"
)

// Mark is what a holder wrote about the mode of its tenure (F8). It repeats the content that it
// came with: a Lease that a person edited, that a backup brought back or that an older kvip wrote
// does not fit its mark.
type Mark struct {
	Fast     bool
	Voters   string // identities, sorted and joined by commas (F7)
	Holder   string
	Term     int64
	Duration time.Duration
	Seq      uint64
	// Proven means that a majority of the voters acknowledged this holder in this term.
	Proven bool
}

// MaxVoters limits how many voters a Lease names.
const MaxVoters = 9

// minVoters is how many agents mode fast requires (F5).
const minVoters = 3

// longLease is the duration of a Lease in mode fast, unless an agent's own is longer.
const longLease = 30 * time.Second

// fits reports whether the mark came with this content (F8).
func (r Record) fits() bool {
	return r.Exists && r.Mark.Seq != 0 && r.Mark.Seq == r.Seq && r.Mark.Holder == r.Holder &&
		r.Mark.Term == r.Term && r.Mark.Duration == r.Duration
}

// fast reports whether the Lease gives its holder a right in mode fast.
func (r Record) fast() bool { return r.Holder != "" && r.Mark.Fast && r.fits() }

// FastVoters returns the voters of a Lease that gives its holder a right in mode fast, else none.
func (r Record) FastVoters() []string {
	if !r.fast() {
		return nil
	}
	return r.Mark.voters()
}

// voters returns the voters that the mark names.
func (k Mark) voters() []string {
	if k.Voters == "" {
		return nil
	}
	return strings.Split(k.Voters, ",")
}

// joinVoters is the opposite of voters.
func joinVoters(ids []string) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return strings.Join(ids[:min(len(ids), MaxVoters)], ",")
}

// stamp makes the mark fit the content. A Lease without a holder has none: it may have been created
// in place of one that was deleted.
func (r *Record) stamp() {
	if r.Holder == "" && r.Released.Holder == "" {
		r.Mark = Mark{}
		return
	}
	r.Mark.Holder, r.Mark.Term = r.Holder, r.Term
	r.Mark.Duration, r.Mark.Seq = r.Duration, r.Seq
}

// notice keeps what the contents of the Lease say about later ones: the newest number in a term,
// and the longest duration in mode fast. It finds out whether the content goes back behind what is
// known, with highest as the highest known term (F8).
func (l *lease) notice(r Record, highest int64) {
	l.wentBack = r.Exists && (r.Term < highest ||
		r.Term == l.newest.term && r.Holder == l.newest.holder && r.Seq < l.newest.seq)
	if r.Exists && !l.wentBack {
		l.newest = newest{r.Term, r.Holder, r.Seq}
	}
	if r.fast() {
		l.longest = max(l.longest, min(r.Duration, MaxLease))
	}
}

// trusted reports whether the Lease shows what its holder wrote last (F8).
func (l *lease) trusted() bool { return l.record.fits() && l.record.Holder != "" && !l.wentBack }
