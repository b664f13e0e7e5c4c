package kubelease

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// TestMark: what is written is read back, and what no kvip wrote is no mark (F8).
func TestMark(t *testing.T) {
	for _, want := range []election.Mark{
		{},
		{Holder: "a", Term: 7, Duration: 5 * time.Second, Seq: 9},
		{Fast: true, Voters: "a,b_1,c", Holder: "a", Term: 7, Duration: 30 * time.Second, Seq: 1 << 63,
			Proven: true},
	} {
		if got := decodeMark(encodeMark(want)); got != want {
			t.Errorf("wrote %+v, read %+v", want, got)
		}
	}
	many := strings.TrimSuffix(strings.Repeat(`"v",`, election.MaxVoters+1), ",")
	for _, text := range []string{
		"fast", "{}", `{"mode":"faster","write":1}`,
		fmt.Sprintf(`{"mode":"fast","voters":[%s],"write":1}`, many),
		`{"mode":"fast","voters":[""],"write":1}`, `{"mode":"fast","voters":["a,b"],"write":1}`,
		`{"mode":"fast","voters":["` + strings.Repeat("x", maxName+1) + `"],"write":1}`,
		`{"mode":"fast","seconds":-1,"write":1}`, `{"mode":"fast","seconds":601,"write":1}`,
		`{"mode":"fast","write":-1}`, `{"mode":"fast","write":1,"holder":"` +
			strings.Repeat("x", maxMark) + `"}`,
	} {
		if got := decodeMark(text); got != (election.Mark{}) {
			t.Errorf("read %+v from %.200s", got, text)
		}
	}
}
