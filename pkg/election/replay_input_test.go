package election

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// event plays the words of one input line of a transcript.
func (s *replay) event(verb string, rest []string) error {
	if _, ok := replayModes[verb]; ok && len(rest) == 1 {
		return s.setMode(verb, rest[0])
	}
	switch verb {
	case "tick": // also the first event of a thawed process
		s.step(Tick{}, "input")
		return nil
	case "freeze":
		s.frozen = true
		return nil
	case "lease":
		return s.leaseWords(rest)
	case "hand": // a person changes the Lease, and no watch has shown it yet
		return s.edit(rest)
	}
	ev, err := s.fact(verb, strings.Join(rest, " "))
	if err != nil {
		return err
	}
	s.step(ev, "input")
	return nil
}

// fact turns words into an event that is not about the Lease.
func (s *replay) fact(verb, rest string) (Event, error) {
	key := verb + " " + rest
	switch verb {
	case "link":
		mac, up := strings.CutPrefix(rest, "up")
		mac, shared := strings.CutSuffix(mac, " shared")
		return Link{Usable: up, MAC: strings.TrimSpace(mac), Shared: shared}, nil
	case "foreign":
		return Foreign{MAC: rest}, nil
	case "probed":
		return Probed{MAC: strings.TrimPrefix(rest, "silent")}, nil
	case "answer":
		return s.answer(strings.Fields(rest))
	case "agents":
		ids, ever := strings.CutSuffix(rest, " allowed")
		return Agents{IDs: strings.Split(ids, ","), EverFast: ever}, nil
	case "port-refused":
		return PortRefused{Agent: rest}, nil
	case "from":
		return s.message(strings.Fields(rest))
	case "health":
		return parseHealth(strings.Fields(rest))
	}
	facts := map[string]Event{
		"owned ok":             Owned{Seq: s.seq(Own), OK: true},
		"owned failed":         Owned{Seq: s.seq(Own)},
		"owned expired":        Owned{Seq: s.seq(Own), Expired: true},
		"disowned confirmed":   Disowned{Seq: s.seq(Disown), Confirmed: true},
		"disowned unconfirmed": Disowned{Seq: s.seq(Disown)},
		"drained confirmed":    Disowned{Seq: s.seq(Drain), Confirmed: true, Draining: true},
		"drained failed":       Disowned{Seq: s.seq(Drain), Confirmed: true},
		"extend deferred":      NotExtended{},
		"address lost":         AddressLost{NodeAddress: true},
		"address flushed":      AddressLost{},
		"node-address back":    NodeAddressRestored{},
		"shutdown now":         Shutdown{},
	}
	if key == "extend deferred" {
		s.fence = 0
	}
	if ev, ok := facts[key]; ok {
		return ev, nil
	}
	return nil, fmt.Errorf("unknown event %q", key)
}

// message reads a message: SENDER KIND [term=N/HOLDER] [number=N] [window=W] [highest=N] [left=T].
// An answer takes what it does not name from the last message that it can answer.
func (s *replay) message(words []string) (Event, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("a message needs a sender and a kind")
	}
	r := Received{From: words[0]}
	m := &r.Message
	for k := quorum.KindBeat; k <= quorum.KindGoodbye; k++ {
		if k.String() == words[1] {
			m.Kind = k
		}
	}
	about := map[quorum.Kind]quorum.Kind{
		quorum.KindAck: quorum.KindBeat, quorum.KindRefusal: quorum.KindBeat,
		quorum.KindPreVoteGranted: quorum.KindPreVote,
	}
	for _, a := range s.sent {
		if a.Kind == Send && a.Message.Kind == about[m.Kind] {
			m.Term, m.Seq, m.Fit = a.Message.Term, a.Message.Seq, m.Kind == quorum.KindAck
		}
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "term":
			var number string
			number, m.Term.Holder, _ = strings.Cut(value, "/")
			m.Term.Number, err = strconv.ParseInt(number, 10, 64)
		case "number":
			m.Seq, err = strconv.ParseUint(value, 10, 64)
		case "window":
			m.Window, err = time.ParseDuration(value)
		case "highest":
			m.Highest, err = strconv.ParseInt(value, 10, 64)
		case "left":
			m.Left, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("unknown field %q", w)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// answer REQUEST ok|failed|version=N answers a request: the last one of a kind, or the one with
// that number. Its write is applied now, or was applied as that version.
func (s *replay) answer(words []string) (Event, error) {
	if len(words) != 2 {
		return nil, fmt.Errorf("answer needs a request and its result")
	}
	a, err := s.find(words[0])
	if err != nil {
		return nil, err
	}
	version, applied := strings.CutPrefix(words[1], "version=")
	switch {
	case applied:
		n, err := strconv.ParseUint(version, 10, 64)
		return Written{Seq: a.Seq, Version: n}, err
	case a.Kind == Read:
		return ReadDone{Seq: a.Seq, OK: words[1] == "ok", Record: s.read()}, nil
	case words[1] == "ok":
		return s.apply(a), nil
	}
	return Written{Seq: a.Seq, Outcome: OutcomeFailed}, nil
}

// find returns a request by its kind or number.
func (s *replay) find(name string) (Action, error) {
	for i := len(s.sent) - 1; i >= 0; i-- {
		if a := s.sent[i]; a.Kind.String() == name || strconv.FormatUint(a.Seq, 10) == name {
			return a, nil
		}
	}
	return Action{}, fmt.Errorf("no %s was sent", name)
}

func (s *replay) seq(k Kind) uint64 {
	a, _ := s.find(k.String()) // 0 if there is none
	return a.Seq
}

// leaseWords changes the Lease on the API server and delivers it by the watch:
//
//	lease                          unchanged
//	lease absent                   there is none
//	lease deleted                  deleted by hand
//	lease applied KIND             written by the last request of that kind, whatever its answer was
//	lease KEY=VALUE ...            written by another program
//	lease but KEY=VALUE ...        with changes to the present one
func (s *replay) leaseWords(words []string) error {
	if err := s.edit(words); err != nil {
		return err
	}
	if len(words) > 0 && words[0] == "absent" {
		s.step(Observed{Record{Version: s.server.Version}}, "input")
		return nil
	}
	s.step(Observed{s.server}, "input")
	return nil
}

// edit changes the Lease on the API server.
func (s *replay) edit(words []string) error {
	switch {
	case len(words) == 0 || words[0] == "absent":
		return nil
	case words[0] == "deleted":
		s.store(Record{})
		return nil
	case words[0] == "applied" && len(words) == 2:
		a, err := s.find(words[1])
		if err == nil {
			s.store(a.Record)
		}
		return err
	case words[0] == "but":
		return s.set(s.server, words[1:])
	}
	return s.set(Record{Exists: true, Duration: 5 * time.Second, Term: s.server.Term}, words)
}

// set stores r with the values of words, as the next version unless they name one.
func (s *replay) set(r Record, words []string) (err error) {
	version := s.server.Version + 1
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "holder":
			r.Holder = value
		case "mac":
			r.MAC = value
		case "degraded":
			r.Degraded = value
		case "requested-by":
			r.RequestedBy = value
		case "move-to":
			r.MoveTo = value
		case "latency":
			r.Latency, err = time.ParseDuration(value)
		case "requested-latency":
			r.RequestedLatency, err = time.ParseDuration(value)
		case "moves":
			r.SlowMoves, err = strconv.Atoi(value)
		case "term":
			r.Term, err = strconv.ParseInt(value, 10, 64)
		case "seq":
			r.Seq, err = strconv.ParseUint(value, 10, 64)
		case "version":
			version, err = strconv.ParseUint(value, 10, 64)
		case "lease":
			r.Duration, err = time.ParseDuration(value)
		case "proof":
			r.Released, err = parseProof(value)
		case "fast": // a holder wrote it in mode fast, with these voters; "!": after a majority
			voters, proven := strings.CutSuffix(value, "!")
			r.Mark = Mark{Fast: true, Voters: voters, Proven: proven}
			defer func() { s.server.stamp() }()
		default:
			err = fmt.Errorf("unknown field %q", w)
		}
		if err != nil {
			return err
		}
	}
	r.Version = version
	s.server = r
	return nil
}

// parseHealth reads healthy|failing|not-ready|slow|dead|unknown and an optional latency.
func parseHealth(words []string) (h Health, err error) {
	if len(words) == 0 || len(words) > 2 {
		return h, fmt.Errorf("health needs a verdict and at most a latency")
	}
	verdicts := map[string]Verdict{
		"healthy": Healthy, "failing": Healthy, "not-ready": NotReady, "slow": NotReady, "dead": Dead,
		"leaving": Dead, "unknown": Unknown,
	}
	v, ok := verdicts[words[0]]
	if !ok {
		return h, fmt.Errorf("unknown verdict %q", words[0])
	}
	h = Health{
		Verdict: v, Slow: words[0] == "slow", Leaving: words[0] == "leaving",
		LastProbeFailed: words[0] == "failing",
	}
	if len(words) == 2 {
		h.Latency, err = time.ParseDuration(words[1])
	}
	return h, err
}

// parseProof reads HOLDER/TERM/REASON.
func parseProof(text string) (Proof, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Proof{}, fmt.Errorf("proof %q is not HOLDER/TERM/REASON", text)
	}
	term, err := strconv.ParseInt(parts[1], 10, 64)
	return Proof{Holder: parts[0], Term: term, Reason: Reason(parts[2])}, err
}
