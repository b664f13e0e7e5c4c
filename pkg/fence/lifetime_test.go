package fence

import (
	"testing"
	"time"
)

func TestLifetimes(t *testing.T) {
	list := lifetimes(time.Hour)
	if len(list) > codeRenew {
		t.Fatalf("%d lifetimes", len(list))
	}
	for i, life := range list {
		switch before := list[max(0, i-1)]; {
		case life%time.Millisecond != 0:
			t.Errorf("%v is not in milliseconds", life)
		case i > 0 && life <= before:
			t.Errorf("%v after %v", life, before)
		case life <= fineUpTo && life != time.Duration(i+1)*step:
			t.Errorf("lifetime %d is %v", i, life)
		case life > fineUpTo && life-before > life/coarse:
			t.Errorf("%v after %v: a renewal loses too much", life, before)
		}
	}
	for _, test := range []struct{ limit, want time.Duration }{
		{0, 0}, {19 * ms, 0}, {20 * ms, 20 * ms}, {39 * ms, 20 * ms}, {300 * ms, 300 * ms},
		{1999 * ms, 1980 * ms}, {2 * time.Second, 2 * time.Second}, {2062 * ms, 2062 * ms},
		{-time.Second, 0},
	} {
		got := time.Duration(0)
		if i, ok := longestWithin(list, test.limit); ok {
			got = list[i]
		}
		if got != test.want {
			t.Errorf("%v: %v, want %v", test.limit, got, test.want)
		}
	}
	if i, ok := longestWithin(list, 2*time.Hour); !ok || i != len(list)-1 {
		t.Errorf("beyond the longest: %d, %t", i, ok)
	}
}

func TestGuardCode(t *testing.T) {
	for _, test := range []struct{ life, want time.Duration }{
		{0, 16 * time.Second}, {16 * time.Second, 16 * time.Second}, {17 * time.Second, 32 * time.Second},
		{10 * time.Minute, 1024 * time.Second}, {24 * time.Hour, 4096 * time.Second},
	} {
		if got := guardLifetimes[guardCode(test.life)-codeGuard]; got != test.want {
			t.Errorf("%v: %v, want %v", test.life, got, test.want)
		}
	}
	if len(guardLifetimes) > codeRenew-codeGuard {
		t.Error("codes overlap")
	}
}
