package kubelease

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

const directoryPath = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kvip-agents"

// published returns what an agent publishes.
func published(id string) peer.Agent {
	return peer.Agent{ID: id, Address: netip.MustParseAddrPort("10.0.0.1:2118"), Key: "key of " + id}
}

// directory runs a directory until the test ends.
func (l *lab) directory(log *testutil.Log) *Directory {
	l.t.Helper()
	d := testutil.Must(NewDirectory(DirectoryConfig{
		Namespace: "kube-system", Lease: "kvip", Router: l.newRouter(""), OnFailure: l.fail,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
	return d
}

// awaitListing waits until a directory lists these agents.
func (l *lab) awaitListing(d *Directory, fast bool, ids ...string) {
	l.t.Helper()
	end := time.After(patience)
	for {
		select {
		case listing := <-d.Listings():
			var have []string
			for _, a := range listing.Agents {
				have = append(have, a.ID)
			}
			if listing.EverFast == fast && slices.Equal(have, ids) {
				return
			}
		case <-end:
			l.t.Fatalf("no listing of %v (fast %v)", ids, fast)
		}
	}
}

// TestDirectory: agents that publish themselves at one time all see each other, and a restarted one
// replaces its earlier process.
func TestDirectory(t *testing.T) {
	l := newLab(t, 1)
	var log testutil.Log
	a, b, c := l.directory(&log), l.directory(&log), l.directory(&log)
	l.awaitListing(a, false)
	a.Publish(published("a_1"))
	b.Publish(published("b_1"))
	c.Publish(published("c_1"))
	for _, d := range []*Directory{a, b, c} {
		l.awaitListing(d, false, "a_1", "b_1", "c_1")
	}
	b.Publish(published("b_2"))
	c.AllowFast()
	for _, d := range []*Directory{a, b, c} {
		l.awaitListing(d, true, "a_1", "b_2", "c_1")
	}
	l.store.Delete(directoryPath)
	for _, d := range []*Directory{a, b, c} { // each one remembers, also those that only read it
		l.awaitListing(d, true, "a_1", "b_2", "c_1")
	}
	writes := l.store.WriteCount()
	b.Publish(published("b_2"))
	c.AllowFast()
	time.Sleep(3 * directoryBackoff.Min)
	if n := l.store.WriteCount() - writes; n != 0 {
		t.Errorf("%d writes of what is there", n)
	}
	if strings.Contains(log.String(), "level=WARN") || len(l.failures()) > 0 {
		t.Errorf("failures %v\n%s", l.failures(), log.String())
	}
}

// TestFastStaysAllowed: an agent that saw that mode fast was allowed writes it again.
func TestFastStaysAllowed(t *testing.T) {
	l := newLab(t, 1)
	var log testutil.Log
	if err := l.store.Put(directoryPath, coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{AnnotationFast: fastAllowed},
	}}); err != nil {
		t.Fatal(err)
	}
	d := l.directory(&log)
	d.Publish(published("a_1"))
	l.awaitListing(d, true, "a_1")
	l.store.Delete(directoryPath)
	testutil.Eventually(t, "the annotation", func() bool {
		var lease coordinationv1.Lease
		_, err := l.store.Get(directoryPath, &lease)
		return err == nil && lease.Annotations[AnnotationFast] == fastAllowed
	})
}

// TestDirectoryIsRestored: what a person deletes or spoils is published again, and what other
// programs wrote beside it stays.
func TestDirectoryIsRestored(t *testing.T) {
	l := newLab(t, 1)
	var log testutil.Log
	d := l.directory(&log)
	d.Publish(published("a_1"))
	l.awaitListing(d, false, "a_1")
	l.store.Delete(directoryPath)
	l.awaitListing(d, false, "a_1")
	for _, text := range []string{
		"", "{", `[{"id":"a,b"},{"id":""}]`, strings.Repeat("x", maxDirectory+1),
	} {
		if err := l.store.Put(directoryPath, coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{AnnotationAgents: text, "other": "kept"},
		}}); err != nil {
			t.Fatal(err)
		}
		l.awaitListing(d, false, "a_1")
		var lease coordinationv1.Lease
		_, err := l.store.Get(directoryPath, &lease)
		if err != nil || lease.Annotations["other"] != "kept" {
			t.Errorf("%.20q: annotations %v, %v", text, lease.Annotations, err)
		}
	}
}

// TestDirectoryWithoutRights: the agent goes on, reports the failure once, and publishes itself as
// soon as it may.
func TestDirectoryWithoutRights(t *testing.T) {
	l := newLab(t, 1)
	var log testutil.Log
	l.servers[0].Deny(fakeapi.DenyRule{Path: "/leases", Code: 403})
	d := l.directory(&log)
	d.Publish(published("a_1"))
	testutil.Eventually(t, "two failures", func() bool { return len(l.failures()) > 1 })
	if n := strings.Count(log.String(), "cannot follow the other agents"); n != 1 {
		t.Errorf("logged %d times\n%s", n, log.String())
	}
	l.servers[0].Deny()
	l.awaitListing(d, false, "a_1")
}

// TestEntriesAreBounded: the list has one entry of each node, and the newest ones if there are too
// many.
func TestEntriesAreBounded(t *testing.T) {
	var list []entry
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2 * maxAgents {
		text := encodeEntries(list, published(fmt.Sprintf("n%d_boot", i)),
			began.Add(time.Duration(i)*time.Second))
		list = decodeEntries(text)
	}
	if len(list) != maxAgents {
		t.Fatalf("%d entries", len(list))
	}
	oldest := slices.MinFunc(list, func(a, b entry) int { return a.Published.Compare(b.Published) })
	if oldest.ID != fmt.Sprintf("n%d_boot", maxAgents) {
		t.Errorf("the oldest is %s", oldest.ID)
	}
	many := make([]entry, 3*maxAgents)
	for i := range many {
		many[i].ID = fmt.Sprintf("n%d", i)
	}
	text, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(decodeEntries(string(text))); n != maxAgents {
		t.Errorf("%d of too many entries", n)
	}
}

func TestNewDirectory(t *testing.T) {
	if _, err := NewDirectory(DirectoryConfig{Namespace: "kube-system", Lease: "kvip"}); err == nil {
		t.Error("no router was accepted")
	}
}
