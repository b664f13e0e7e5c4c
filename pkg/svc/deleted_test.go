package svc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

// shardLease returns a shard of the ledger as kvip wrote it at some second.
func shardLease(name string, second int64, text string) *Lease {
	l := lease(name, RoleLedger, AnnotationLedger, text)
	at := metav1.NewMicroTime(time.Unix(second, 0))
	l.Spec.RenewTime = &at
	return ReadLease(l)
}

// text renders a ledger: "address=service,service" for each address, sorted.
func text(l ipam.Ledger) string {
	var all []string
	for addr, entries := range l {
		var owners []string
		for _, h := range entries {
			owners = append(owners, string(h.Service))
		}
		all = append(all, fmt.Sprintf("%s=%s", addr, strings.Join(owners, ",")))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

const ledgerOfThree = `{"10.0.0.1":[{"service":"a/web"},{"service":"b/web"}],` +
	`"10.0.0.2":[{"service":"c/web"}],"fd00::1":[{"service":"b/web"}]}`

// S4: the entries of a deleted shard count until the allocator has written them again.
func TestDeletedEntriesCount(t *testing.T) {
	for _, row := range []struct {
		name  string
		other string // entries of other shards
		want  string
	}{
		{"alone", `{}`, "10.0.0.1=a/web,b/web 10.0.0.2=c/web fd00::1=b/web"},
		{"an address has another Service", `{"10.0.0.2":[{"service":"d/web"}]}`,
			"10.0.0.1=a/web,b/web 10.0.0.2=d/web fd00::1=b/web"},
		{"a Service has another address", `{"10.0.0.9":[{"service":"b/web"}]}`,
			"10.0.0.1=a/web 10.0.0.2=c/web 10.0.0.9=b/web fd00::1=b/web"},
		{"the control plane may have several", fmt.Sprintf(`{"10.0.0.9":[{"service":%q}]}`,
			ipam.ControlPlane),
			fmt.Sprintf("10.0.0.1=a/web,b/web 10.0.0.2=c/web 10.0.0.9=%s fd00::1=b/web", ipam.ControlPlane)},
	} {
		d := newDeletedEntries(func() time.Duration { return 1 })
		old := d.track(nil, shardLease("s-ledger-0", 1, ledgerOfThree))
		if d.track(old, nil) != nil {
			t.Fatal("the deleted Lease is kept")
		}
		other := DecodeLedger(row.other)
		before := text(other)
		if got := text(d.merge(other)); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if text(other) != before {
			t.Errorf("%s: merge changed its argument to %s", row.name, text(other))
		}
	}
}

// S4: entries that were written again, or are too old, are forgotten.
func TestDeletedEntriesEnd(t *testing.T) {
	now := time.Duration(1)
	d := newDeletedEntries(func() time.Duration { return now })
	d.track(d.track(nil, shardLease("s-ledger-0", 1, ledgerOfThree)), nil)
	d.track(nil, shardLease("s-ledger-3", 2, `{"10.0.0.1":[{"service":"a/web"}]}`))
	if got, want := text(d.merge(ipam.Ledger{})), "10.0.0.2=c/web fd00::1=b/web"; got != want {
		t.Errorf("after one was written again: %s, want %s", got, want)
	}
	now += keepDeleted
	if got := d.merge(ipam.Ledger{}); len(got) != 2 {
		t.Errorf("after %v: %v", keepDeleted, got)
	}
	if now++; len(d.merge(ipam.Ledger{})) != 0 || len(d.entries) != 0 {
		t.Errorf("later: %v", slices.Collect(maps.Keys(d.entries)))
	}
}

// A shard that becomes another kind of Lease counts as deleted; other Leases are not tracked.
func TestDeletedEntriesOfOtherRoles(t *testing.T) {
	d := newDeletedEntries(func() time.Duration { return 1 })
	node := ReadLease(lease("s-node-n1", RoleNode, AnnotationNode, `{"node":"n1"}`))
	if d.track(nil, node) != node || d.track(node, nil) != nil || len(d.entries) != 0 {
		t.Errorf("a node's Lease is tracked: %v", d.entries)
	}
	shard := d.track(nil, shardLease("s-ledger-0", 1, ledgerOfThree))
	if d.track(shard, node) != node || len(d.entries) != 3 {
		t.Errorf("a shard with another role: %v", d.entries)
	}
}

// S4: an edit does not renew the Lease. The entries that kvip wrote count until kvip writes again.
func TestEditedShard(t *testing.T) {
	const written = `{"10.0.0.1":[{"service":"a/web"}]}`
	for name, edited := range map[string]string{
		"another owner": `{"10.0.0.1":[{"service":"x/evil"}]}`, "empty": `{}`, "malformed": `{"10.`,
	} {
		d := newDeletedEntries(func() time.Duration { return 1 })
		old := d.track(nil, shardLease("s-ledger-0", 1, written))
		got := d.track(old, shardLease("s-ledger-0", 1, edited))
		if text(got.Entries) != "10.0.0.1=a/web" || !got.Edited || sameLease(old, got) {
			t.Errorf("%s: entries %v, edited %v", name, got.Entries, got.Edited)
		}
		got = d.track(got, shardLease("s-ledger-0", 2, edited))
		if got.Edited || !got.Entries.Equal(DecodeLedger(edited)) {
			t.Errorf("%s, written by kvip: entries %v, edited %v", name, got.Entries, got.Edited)
		}
	}
}

// A Lease of another UID is another object, even with the same renew time.
func TestRecreatedShard(t *testing.T) {
	d := newDeletedEntries(func() time.Duration { return 1 })
	old := d.track(nil, shardLease("s-ledger-0", 1, `{"10.0.0.1":[{"service":"a/web"}]}`))
	created := shardLease("s-ledger-0", 1, `{"10.0.0.1":[{"service":"b/web"}]}`)
	created.UID = "another"
	if got := d.track(old, created); got.Edited || text(got.Entries) != "10.0.0.1=b/web" {
		t.Errorf("entries %v, edited %v", got.Entries, got.Edited)
	}
}
