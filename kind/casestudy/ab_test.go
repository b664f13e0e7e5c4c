package casestudy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Reports of ab 2.3, shortened: a good run; one in which a tenth of the connections was reset and a
// tenth answered with 503; one at a closed port; and one whose last connections hung.
const (
	abGood = `Time taken for tests:   0.149 seconds
Complete requests:      500
Failed requests:        0
Total transferred:      74000 bytes
`
	abReset = `Time taken for tests:   0.020 seconds
Complete requests:      200
Failed requests:        40
   (Connect: 0, Receive: 20, Length: 0, Exceptions: 20)
Non-2xx responses:      20
Total transferred:      7842 bytes
`
	abRefused = `Time taken for tests:   0.027 seconds
Complete requests:      200
Failed requests:        300
   (Connect: 0, Receive: 200, Length: 0, Exceptions: 100)
Total transferred:      0 bytes
`
	abHung = `Licensed to The Apache Software Foundation, http://www.apache.org/

Benchmarking 172.18.255.246 (be patient)...apr_pollset_poll: The timeout specified has expired (70007)
Total of 454 requests completed
`
)

func TestParseAB(t *testing.T) {
	for _, c := range []struct {
		report string
		want   Count
	}{
		{abGood, Count{500, 0}},
		{abReset, Count{200, 40}},
		{abRefused, Count{200, 200}},
		{abHung, Count{abSlice, abSlice - 454}},
		{strings.ReplaceAll(abReset, "Connect: 0", "Connect: 7"), Count{200, 47}},
	} {
		if got, err := parseAB(c.report); err != nil || got != c.want {
			t.Errorf("%+v, %v; want %+v of\n%s", got, err, c.want, c.report)
		}
	}
	for _, report := range []string{"", "apr_socket_connect(): Connection refused (111)\n",
		"Complete requests: 5\n"} {
		if got, err := parseAB(report); err == nil {
			t.Errorf("%q is read as %+v", report, got)
		}
	}
}

// FuzzParseAB: whatever ab says, a count is no larger than what stands there, and nothing panics.
func FuzzParseAB(f *testing.F) {
	for _, report := range []string{abGood, abReset, abRefused, abHung} {
		f.Add(report)
	}
	f.Fuzz(func(t *testing.T, report string) {
		if c, err := parseAB(report); err == nil && (c.Requests < 0 || c.Failed < 0) {
			t.Errorf("%+v", c)
		}
	})
}

// run is a run of ab in a test.
func run(start, end, requests, failed int) Slice {
	return Slice{Start: instant(start), End: instant(end), Count: Count{requests, failed}}
}

func TestLoadIsJudgedByItsRuns(t *testing.T) {
	h := Handover{"w1", "w2", instant(1000), instant(1005)}
	aborted := run(1500, 1600, 0, 0)
	aborted.Err = errors.New("ab: it gave up")
	good := func() Load {
		return Load{run(0, 900, abTotal/2, 0), run(910, 1300, 500, 3), run(1310, 2000, abTotal/2, 0)}
	}
	for _, c := range []struct {
		name string
		load Load
		want string
	}{
		{"good", good(), ""},
		{"open ones failed, as many as may be open", append(good(), run(950, 1100, 500, abClients-3)),
			""},
		{"more than may be open", append(good(), run(950, 1100, 500, abClients)),
			"103 requests failed in the runs"},
		{"before", append(good(), run(0, 950, 500, 1)), "before the hand-over: 1 of 25500 failed"},
		{"after", append(good(), run(1005, 1100, 500, 1)), "after the hand-over: 1 of 25500 failed"},
		{"too few", good()[1:], "ab made 25500 of 50000 requests"},
		{"aborted", append(good(), aborted), "ab: it gave up"},
		{"all before", Load{run(0, 900, abTotal, 0)}, "too little was seen"},
	} {
		if err := c.load.judge(h); (err == nil) != (c.want == "") || err != nil &&
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if got := fmt.Sprint(good().total(), good().rate()); got != "3 of 50500 failed 25250" {
		t.Errorf("total and rate: %s", got)
	}
	if got := Load(nil).rate(); got != 0 {
		t.Errorf("the rate of nothing is %v", got)
	}
}
