package vip

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var seed = flag.Uint64("vip.seed", 0, "run the property tests with this seed alone")

// seeds returns what a property test plays; a failure prints the one it came with.
func seeds(count int) []uint64 {
	if *seed != 0 {
		return []uint64{*seed}
	}
	list := make([]uint64, count)
	for i := range list {
		list[i] = rand.Uint64()
	}
	return list
}

func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}) }

func onEth0(i int) Change { return Change{Address: Address{nth(i), 2, "eth0"}} }

// play renews what is due until the end and returns how many were renewed in each slot.
func play(t *testing.T, r *refreshSchedule, from, until time.Duration) map[time.Duration]int {
	t.Helper()
	counts := map[time.Duration]int{}
	for now := from; now < until; {
		due, expired := r.due(now)
		if len(expired) > 0 {
			t.Fatalf("at %v %d expired, %v among them", now, len(expired), expired[0])
		}
		for _, c := range due {
			if c.Valid != r.lifetime {
				t.Fatalf("%v gets %v", c.Addr, c.Valid)
			}
			r.written(c, now)
		}
		counts[now/slot] += len(due)
		next := r.next(now)
		if next < now+slot || next > now+r.period() {
			t.Fatalf("at %v the next call is at %v", now, next)
		}
		now = next
	}
	return counts
}

// S8: whatever number comes at once, and in whatever rounds more come and go, the renewals
// of any second are no more than an even share and a little, and none comes too late.
func TestS8RenewalsAreSpreadEvenly(t *testing.T) {
	for _, seed := range seeds(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRefreshSchedule(time.Duration(60+rng.IntN(240)) * time.Second)
		now := time.Duration(rng.Int64N(int64(time.Hour)))
		n := 1 + rng.IntN(5000)
		for i := range n {
			r.written(onEth0(i), now)
		}
		if rng.IntN(2) == 0 { // a second lot
			play(t, r, now, now+7*time.Second)
			now += 7 * time.Second
			more := rng.IntN(5000)
			for i := range more {
				r.written(onEth0(n+i), now)
			}
			n += more
		}
		counts := play(t, r, now, now+2*r.lifetime)
		share := float64(n) / float64(r.period()/time.Second)
		perSlot := int(time.Second / slot)
		total := 0
		for at := range counts {
			sum := 0
			for i := range perSlot {
				sum += counts[at+time.Duration(i)]
			}
			if float64(sum) > 1.5*share+8 {
				t.Fatalf("-vip.seed=%d: %d renewals in the second from %v; %.1f would be even", seed, sum,
					at*slot, share)
			}
			total += counts[at]
		}
		if total < 3*n || total > 5*n {
			t.Fatalf("-vip.seed=%d: %d renewals of %d in two lifetimes", seed, total, n)
		}
	}
}

// S8: a process that stood still for up to half a lifetime loses no address and does not
// renew all at once; nor does one that was restarted, whatever is left of the lifetimes (S6).
func TestS8CatchingUp(t *testing.T) {
	for _, seed := range seeds(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRefreshSchedule(120 * time.Second)
		now, n := time.Hour, 500+rng.IntN(4500)
		for i := range n {
			c := onEth0(i)
			c.Valid = time.Duration(61+rng.IntN(60)) * time.Second
			r.found(c, now)
		}
		play(t, r, now, now+3*time.Minute)
		now += 3*time.Minute + time.Duration(rng.Int64N(int64(58*time.Second)))
		counts := play(t, r, now, now+4*time.Minute)
		for at, count := range counts {
			if count > n/60+3 {
				t.Fatalf("-vip.seed=%d: %d of %d at once, at %v", seed, count, n, at*slot)
			}
		}
	}
}

func TestScheduleOfAddressesAboutToExpire(t *testing.T) {
	r := newRefreshSchedule(time.Minute)
	now := time.Hour
	for i := range 1000 {
		c := onEth0(i)
		c.Valid = 3 * time.Second
		r.found(c, now)
	}
	if due, expired := r.due(now); len(due) != 1000 || len(expired) != 0 {
		t.Errorf("%d are renewed and %d expired; all must be, at once", len(due), len(expired))
	}
	if due, expired := r.due(now + 2*time.Second); len(due) != 0 || len(expired) != 1000 {
		t.Errorf("%d are renewed and %d expired; it is too late for all", len(due), len(expired))
	}
	if next := r.next(now); next != now+30*time.Second {
		t.Errorf("with nothing to do the next call is at %v", next-now)
	}
}

// A failed renewal is tried again while the lifetime lasts, and not in a hurry.
func TestScheduleRetries(t *testing.T) {
	r := newRefreshSchedule(time.Minute)
	r.written(onEth0(1), time.Hour)
	tries := 0
	for now := time.Hour; ; now = r.next(now) {
		due, expired := r.due(now)
		for _, c := range due {
			tries++
			r.failed(c.Addr, now)
		}
		if len(expired) > 0 {
			break
		}
	}
	if tries < 9 || tries > 21 {
		t.Errorf("%d tries in a minute", tries)
	}
	r.failed(nth(1), time.Hour) // it is forgotten, and nothing comes of it
}
