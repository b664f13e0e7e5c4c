package netlab

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestSamplerSeesHoldersAndOverlap(t *testing.T) {
	l, h := newLab(t)
	a, b, c := h["a"], h["b"], h["c"]
	s, err := l.Sample([]netip.Addr{vip4, vip6}, a, b, c)
	must(t, err)
	defer func() { must(t, s.Stop()) }()
	must(t, a.AddAddr(netip.PrefixFrom(vip4, 32)))
	must(t, a.AddAddr(netip.PrefixFrom(vip6, 128)))
	wait.Eventually(t, patience, "a as holder", func() bool {
		return slices.Equal(s.Holders(vip4), []*Host{a}) && slices.Equal(s.Holders(vip6), []*Host{a})
	})
	if w := s.Window(time.Time{}, time.Time{}); w.Samples == 0 || w.TwoHoldersAny != 0 {
		t.Errorf("one holder: %+v", w)
	}
	time.Sleep(4 * SampleEvery)
	both := time.Now().Add(-2 * SampleEvery) // the window begins with a alone
	must(t, b.AddAddr(netip.PrefixFrom(vip6, 128)))
	wait.Eventually(t, patience, "two holders",
		func() bool { return s.Window(both, time.Time{}).TwoHolders > 2 })
	must(t, l.Partition(a, b))
	cut := time.Now()
	wait.Eventually(t, patience, "two holders that cannot reach each other",
		func() bool { return s.Window(cut, time.Time{}).TwoHoldersAny > 2 })
	if w := s.Window(cut.Add(SampleEvery), time.Time{}); w.TwoHolders != 0 {
		t.Errorf("%d samples count hosts that are cut off from each other", w.TwoHolders)
	}
	must(t, b.DelAddr(netip.PrefixFrom(vip6, 128)))
	wait.Eventually(t, patience, "one holder", func() bool { return len(s.Holders(vip6)) == 1 })
	var got []string
	for _, ch := range s.Window(both, time.Time{}).Timeline {
		if ch.VIP == vip6 {
			got = append(got, ch.Holders...)
			got = append(got, "|")
		}
	}
	if want := []string{"a", "|", "a", "b", "|", "a", "|"}; !slices.Equal(got, want) {
		t.Errorf("timeline %v, want %v", got, want)
	}
}

func TestHandOverBetweenTwoLooksIsNoOverlap(t *testing.T) {
	l, h := newLab(t)
	s := &Sampler{reach: l.Reachable, hosts: []*Host{h["a"], h["b"]}, vips: []netip.Addr{vip4}}
	first, second := uint64(0b11), uint64(0b10) // a was seen, then b; asked again, a has let go
	if s.overlap(first&second, false) {
		t.Error("a hand-over counts as two holders")
	}
	if !s.overlap(first, true) {
		t.Error("two holders do not count")
	}
}

func TestSamplerIsCheap(t *testing.T) {
	l, h := newLab(t)
	before := cpu(t)
	start := time.Now()
	s, err := l.Sample([]netip.Addr{vip4}, h["a"], h["b"], h["c"])
	must(t, err)
	time.Sleep(time.Second)
	must(t, s.Stop())
	w := s.Window(time.Time{}, time.Time{})
	t.Logf("%d samples, longest gap %s, %.1f%% of a core", w.Samples, w.MaxGap,
		100*float64(cpu(t)-before)/float64(time.Since(start)))
	if w.Samples == 0 {
		t.Error("no samples")
	}
}

// cpu returns the processor time this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &ru))
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func TestSamplerRefusesWhatItCannotCount(t *testing.T) {
	l, h := newLab(t)
	if _, err := l.Sample(nil, h["a"]); err == nil {
		t.Error("no address is accepted")
	}
	if _, err := l.Sample([]netip.Addr{vip4}); err == nil {
		t.Error("no host is accepted")
	}
}

// TestFill: a host that missed one sample had the address, one that missed two did not.
func TestFill(t *testing.T) {
	s := &Sampler{}
	for _, mask := range []uint64{1, 0, 1, 0, 0, 1, 2} {
		s.samples = append(s.samples, sample{mask: mask})
		s.fill()
	}
	var got []uint64
	for _, sm := range s.samples {
		got = append(got, sm.mask)
	}
	if want := []uint64{1, 1, 1, 0, 0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("masks %v, want %v", got, want)
	}
}

// TestWireAnswers: a host that has an address but does not answer for it is not a holder, and a
// host without a link has none.
func TestWireAnswers(t *testing.T) {
	l, h := newLab(t)
	a := h["a"]
	for _, vip := range []netip.Addr{vip4, vip6} {
		must(t, a.AddAddr(netip.PrefixFrom(vip, vip.BitLen())))
	}
	s, err := l.Sample([]netip.Addr{vip4, vip6}, a)
	must(t, err)
	defer func() { must(t, s.Stop()) }()
	holds := func(want bool) {
		t.Helper()
		wait.Eventually(t, patience, "answers", func() bool {
			return (len(s.Holders(vip4)) == 1) == want && (len(s.Holders(vip6)) == 1) == want
		})
	}
	holds(true)
	must(t, a.LinkDown())
	holds(false)
	must(t, a.LinkUp())
	for _, vip := range []netip.Addr{vip4, vip6} { // the kernel removes IPv6 addresses with the link
		_ = a.AddAddr(netip.PrefixFrom(vip, vip.BitLen()))
	}
	holds(true)
	if _, ok := wireAnswer(make([]byte, 41)); ok {
		t.Error("a truncated frame is an answer")
	}
	if _, ok := wireAnswer(wireRequest(vip4)); ok {
		t.Error("a request is an answer")
	}
	if _, ok := wireAnswer(wireRequest(vip6)); ok {
		t.Error("a solicitation is an answer")
	}
}
