package kubelease

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// AnnotationMode has the mode and the voters of the tenure, and repeats the content that they came
// with (F8).
const AnnotationMode = "kvip.dev/mode"

// maxMark limits the bytes of a mark that is read; a longer one counts as absent.
const maxMark = 8 << 10

// Names of the modes in the Lease.
const (
	modeFast = "fast"
	modeSlow = "slow"
)

// mark is the JSON form of election.Mark.
type mark struct {
	Mode    string   `json:"mode"`
	Voters  []string `json:"voters,omitempty"`
	Holder  string   `json:"holder"`
	Term    int64    `json:"term"`
	Seconds int64    `json:"seconds"`
	Write   uint64   `json:"write"`
	Proven  bool     `json:"proven,omitempty"`
}

// decodeMark returns the zero Mark for text that no kvip wrote: such a Lease fits no mark.
func decodeMark(text string) election.Mark {
	var m mark
	if len(text) > maxMark || json.Unmarshal([]byte(text), &m) != nil ||
		m.Mode != modeFast && m.Mode != modeSlow || len(m.Voters) > election.MaxVoters ||
		m.Seconds < 0 || m.Seconds > int64(election.MaxLease/time.Second) ||
		slices.ContainsFunc(m.Voters, func(v string) bool {
			return v == "" || len(v) > maxName || strings.Contains(v, ",")
		}) {
		return election.Mark{}
	}
	return election.Mark{
		Fast: m.Mode == modeFast, Voters: strings.Join(m.Voters, ","), Holder: m.Holder, Term: m.Term,
		Duration: time.Duration(m.Seconds) * time.Second, Seq: m.Write,
		Proven: m.Proven,
	}
}

// encodeMark returns the annotation, "" for the zero Mark.
func encodeMark(m election.Mark) string {
	if m == (election.Mark{}) {
		return ""
	}
	out := mark{
		Mode: modeSlow, Holder: m.Holder, Term: m.Term, Seconds: int64(m.Duration / time.Second),
		Write: m.Seq, Proven: m.Proven,
	}
	if m.Fast {
		out.Mode = modeFast
	}
	if m.Voters != "" {
		out.Voters = strings.Split(m.Voters, ",")
	}
	text, _ := json.Marshal(out) // plain fields: cannot fail
	return string(text)
}
