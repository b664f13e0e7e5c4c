package quorum

import "time"

// Kind of a Message.
type Kind uint8

// Kinds of messages (F10).
const (
	KindBeat           Kind = 1 + iota // a holder is alive
	KindAck                            // the sender is bound to the holder for the beat's window
	KindRefusal                        // the sender refuses a beat
	KindPreVote                        // asks whether the receiver has lost the holder of the term
	KindPreVoteGranted                 // the sender has
	KindGoodbye                        // the sender never owns by this term again
	KindFlows                          // the sender still serves connections of the term (F11)
)

var kindNames = map[Kind]string{
	KindBeat: "beat", KindAck: "ack", KindRefusal: "refusal", KindPreVote: "pre-vote",
	KindPreVoteGranted: "pre-vote-granted", KindGoodbye: "goodbye", KindFlows: "flows",
}

// String returns the name used in transcripts, metrics and logs, "unknown" for other kinds.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return "unknown"
}

// MaxPayload limits the payload of a message in bytes: with all else it fits one frame of Ethernet.
const MaxPayload = 1200

// Message is what one agent sends to another. Fields that a kind does not name are zero.
type Message struct {
	Kind    Kind
	Term    Term          // every kind; in an ack and a refusal, the term of the beat
	Seq     uint64        // number of the beat or of the pre-vote; the answer repeats it
	Window  time.Duration // beat: W
	Fit     bool          // ack: the sender could hold in mode fast itself (F5)
	Highest int64         // refusal: the highest term that the sender knows, 0 if it is only bound
	Left    time.Duration // refusal: how long the sender is bound to another holder
	Payload string        // flows: some of the connections; at most MaxPayload bytes
}

// Beat returns the content of a message of KindBeat.
func (m Message) Beat() Beat { return Beat{Term: m.Term, Seq: m.Seq, Window: m.Window} }

// Message returns the answer to a beat. It reports whether there is one.
func (r Reply) Message(to Beat, fit bool) (Message, bool) {
	switch r.Answer {
	case Acked:
		return Message{Kind: KindAck, Term: to.Term, Seq: to.Seq, Fit: fit}, true
	case Outdated:
		return Message{Kind: KindRefusal, Term: to.Term, Seq: to.Seq, Highest: r.Highest}, true
	case Bound:
		return Message{Kind: KindRefusal, Term: to.Term, Seq: to.Seq, Left: r.Left}, true
	}
	return Message{}, false
}
