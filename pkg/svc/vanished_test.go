package svc

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

// shardLease is a ledger Lease as a kvip wrote it at some second.
func shardLease(name string, second int64, text string) *Lease {
	l := lease(name, RoleLedger, AnnotationLedger, text)
	at := metav1.NewMicroTime(time.Unix(second, 0))
	l.Spec.RenewTime = &at
	return ReadLease(l)
}

func owners(l ipam.Ledger) map[string]string {
	all := map[string]string{}
	for addr, holders := range l {
		for _, h := range holders {
			all[addr.String()] += string(h.Owner) + " "
		}
	}
	return all
}

// S4: what a deleted Lease had counts until the allocator has written it again, for a while.
func TestADeletedShardCounts(t *testing.T) {
	now := time.Duration(1)
	v := newVanished(func() time.Duration { return now })
	old := shardLease("s-ledger-0", 1, `{"10.0.0.1":[{"service":"a/web"},{"service":"b/web"}],"10.0.0.2":[{"service":"c/web"}],"fd00::1":[{"service":"b/web"}]}`)
	v.follow(nil, old)
	if v.follow(old, nil) != nil {
		t.Fatal("a deleted Lease counts")
	}
	for _, row := range []struct {
		what string
		l    string // what other shards have
		want map[string]string
	}{
		{"nothing else", `{}`, map[string]string{"10.0.0.1": "a/web b/web ", "10.0.0.2": "c/web ", "fd00::1": "b/web "}},
		{"an address is another's", `{"10.0.0.2":[{"service":"d/web"}]}`, map[string]string{"10.0.0.1": "a/web b/web ", "10.0.0.2": "d/web ", "fd00::1": "b/web "}},
		{"a Service has another", `{"10.0.0.9":[{"service":"b/web"}]}`, map[string]string{"10.0.0.1": "a/web ", "10.0.0.2": "c/web ", "10.0.0.9": "b/web ", "fd00::1": "b/web "}},
	} {
		got := owners(v.restored(DecodeLedger(row.l)))
		if len(got) != len(row.want) {
			t.Errorf("%s: %v", row.what, got)
		}
		for addr, want := range row.want {
			if got[addr] != want {
				t.Errorf("%s: %s has %q, want %q", row.what, addr, got[addr], want)
			}
		}
	}
	v.follow(nil, shardLease("s-ledger-3", 2, `{"10.0.0.1":[{"service":"a/web"}]}`))
	if got := v.restored(ipam.Ledger{}); len(got) != 2 {
		t.Errorf("what was written again still counts by memory: %v", got)
	}
	now += keepVanished + 1
	if got := v.restored(ipam.Ledger{}); len(got) != 0 {
		t.Errorf("it counts for ever: %v", got)
	}
}

// S4: who edits a Lease does not renew it. Then what a kvip wrote counts, until a kvip writes again.
func TestAnEditedShardDoesNotCount(t *testing.T) {
	written := `{"10.0.0.1":[{"service":"a/web"}]}`
	for name, text := range map[string]string{"other": `{"10.0.0.1":[{"service":"x/evil"}]}`, "empty": `{}`, "spoilt": `{"10.`} {
		v := newVanished(func() time.Duration { return 1 })
		old := v.follow(nil, shardLease("s-ledger-0", 1, written))
		got := v.follow(old, shardLease("s-ledger-0", 1, text))
		if owners(got.Entries)["10.0.0.1"] != "a/web " || !got.Edited || sameLease(old, got) {
			t.Errorf("%s: %v counts, edited %v", name, got.Entries, got.Edited)
		}
		if got = v.follow(got, shardLease("s-ledger-0", 2, text)); got.Edited || !got.Entries.Equal(DecodeLedger(text)) {
			t.Errorf("%s, written by a kvip: %v counts", name, got.Entries)
		}
	}
}

// The numbers of shards are those that kvip writes: others would count here and not for the allocator.
func TestShardNames(t *testing.T) {
	for name, want := range map[string]int{"s-ledger-0": 0, "s-ledger-12": 12, "s-ledger-01": -1, "s-ledger--1": -1, "s-ledger-x": -1, "s-ledger-": -1, "t-ledger-0": -1,
		"s-ledger-9223372036854775807": -1} {
		if got := Shard("s", name); got != want {
			t.Errorf("%s is number %d, want %d", name, got, want)
		}
		if belongs := ReadLease(lease(name, RoleLedger, AnnotationLedger, "{}")).belongs("s"); belongs != (want >= 0) {
			t.Errorf("%s belongs: %v", name, belongs)
		}
	}
}
