package controlplane

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/test/lab/cluster"
)

func (s *env) leases() coordinationclient.LeaseInterface {
	s.t.Helper()
	var serving *cluster.Node
	s.wait("an API server to be ready", func() bool {
		i := slices.IndexFunc(s.c.Nodes,
			func(n *cluster.Node) bool { return n.Ready(context.Background()) == nil })
		if i >= 0 {
			serving = s.c.Nodes[i]
		}
		return i >= 0
	})
	kube, err := s.c.Kube(serving)
	s.must(err)
	return kube.CoordinationV1().Leases("kube-system")
}

// edit changes the lease of the election by hand.
func (s *env) edit(change func(l *coordinationv1.Lease)) {
	s.t.Helper()
	s.editLease("kvip", change)
}

// editLease changes a lease by hand, as kubectl edit would, and tries again on a conflict.
func (s *env) editLease(name string, change func(l *coordinationv1.Lease)) {
	s.t.Helper()
	leases := s.leases()
	s.wait("an edit of the lease to go through", func() bool {
		l, err := leases.Get(context.Background(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false
		}
		s.must(err)
		change(l)
		_, err = leases.Update(context.Background(), l, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			s.must(err)
		}
		return err == nil
	})
}

// stealLease returns a change that puts another name into the lease, in turn: a foreign name,
// of no agent, and that of an agent that did not claim it (E3).
func (s *env) stealLease(i int) func(*coordinationv1.Lease) {
	return func(l *coordinationv1.Lease) {
		holder, name := "", ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		switch i % 3 {
		case 0:
			name = fmt.Sprintf("thief-%d", i)
		case 1:
			name = s.otherNode(holder)
		}
		l.Spec.HolderIdentity = &name
		if name == "" {
			l.Spec.HolderIdentity = nil
		}
	}
}

// otherNode is the identity of an agent that is not the holder.
func (s *env) otherNode(holder string) string {
	for _, n := range s.c.Nodes {
		if id := s.agentStatus(n).Identity; id != holder {
			return id
		}
	}
	return ""
}

// TestLeaseStolen steals the lease 100 times: 14 times from a node that holds, and 86
// times in bursts while the nodes wait for the last theft to expire (E2, E3).
func TestLeaseStolen(t *testing.T) {
	s := newEnv(t, "--lease-duration=3s", "--renew-interval=600ms")
	for i := range 14 {
		s.holder()
		s.edit(s.stealLease(i))
		s.waitNoHolder()
	}
	for i := range 86 {
		if i%15 == 0 {
			s.holder()
		}
		s.edit(s.stealLease(i))
		time.Sleep(100 * time.Millisecond)
	}
}

// TestLeaseDeletedAndEmptied deletes the lease by hand, which its holder makes again (E2),
// and empties it (E3): a change like any other, after which everybody waits.
func TestLeaseDeletedAndEmptied(t *testing.T) {
	s := newEnv(t)
	old := s.holder()
	s.must(s.leases().Delete(t.Context(), "kvip", metav1.DeleteOptions{}))
	s.wait("the lease to be there again", func() bool {
		l, err := s.leases().Get(t.Context(), "kvip", metav1.GetOptions{})
		return err == nil && l.Spec.HolderIdentity != nil &&
			election.NodeName(*l.Spec.HolderIdentity) == old.Name
	})
	s.waitSettled()
	if now := s.holder(); now != old {
		t.Errorf("%s held when the lease was deleted, and then %s", old.Name, now.Name)
	}
	s.edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })
	s.waitNoHolder()
	s.waitSettled()
}

// TestDifferentDurations gives every node a lease duration of its own: a follower waits
// for the longer one (E2).
func TestDifferentDurations(t *testing.T) {
	s := prepareEnv(t)
	for i, d := range []string{"3s", "9s", "5s"} {
		s.startAgent(s.c.Nodes[i], "--lease-duration="+d, "--renew-interval=700ms")
	}
	s.waitSettled()
	for range 3 {
		old := s.holder()
		s.must(old.Agent().Freeze())
		s.waitMoved(old)
		s.must(old.Agent().Thaw())
		s.wait("the thawed agent to stand by", func() bool { return s.isStandby(old) })
		old = s.holder()
		s.must(old.Agent().SendTerm())
		s.waitMoved(old)
		<-old.Agent().Done()
		s.must(s.c.Heal(t.Context()))
		s.waitSettled()
	}
}

// TestLateWatch freezes a follower's API server, so that its watch shows nothing, for
// longer than the lease lasts: the follower must not take what is still renewed (E2).
func TestLateWatch(t *testing.T) {
	s := newEnv(t)
	holder := s.holder()
	followers := slices.DeleteFunc(slices.Clone(s.c.Nodes),
		func(n *cluster.Node) bool { return n == holder })
	began := time.Now()
	for _, n := range followers {
		s.must(n.FreezeAPI())
		time.Sleep(7 * time.Second) // longer than the lease: the length is the test's subject
		s.must(n.ThawAPI())
		s.must(n.WaitReady(t.Context()))
		s.wait("the follower to stand by", func() bool { return s.isStandby(n) })
	}
	for _, c := range s.sampler.Window(began, time.Time{}).Timeline {
		if len(c.Holders) != 1 || c.Holders[0] != holder.Name {
			t.Errorf("%s was on %v, not on %s", c.VIP, c.Holders, holder.Name)
		}
	}
}

// TestForeignMetadataSurvives adds a label and an annotation by hand while the lease is
// held: no move, and both are still there after more renewals.
func TestForeignMetadataSurvives(t *testing.T) {
	s := newEnv(t)
	holder := s.holder()
	s.edit(func(l *coordinationv1.Lease) {
		l.Labels = map[string]string{"team": "infra"}
		l.Annotations["example.com/note"] = "ours"
	})
	before := s.lease()
	s.wait("two more renewals",
		func() bool {
			return s.lease().Spec.RenewTime.Sub(before.Spec.RenewTime.Time) > 1500*time.Millisecond
		})
	after := s.lease()
	if after.Labels["team"] != "infra" || after.Annotations["example.com/note"] != "ours" {
		t.Errorf("labels %v and annotations %v after renewals", after.Labels, after.Annotations)
	}
	if *after.Spec.LeaseTransitions != *before.Spec.LeaseTransitions || s.holder() != holder {
		t.Error("the address moved")
	}
}

func (s *env) lease() *coordinationv1.Lease {
	s.t.Helper()
	l, err := s.leases().Get(context.Background(), "kvip", metav1.GetOptions{})
	s.must(err)
	return l
}

// TestTransitionsAreRecorded hands the address over and finds it in the lease.
func TestTransitionsAreRecorded(t *testing.T) {
	s := newEnv(t)
	old := s.holder()
	s.must(old.KillAPI())
	next := s.waitMoved(old)
	s.wait("the transition in the lease", func() bool {
		list := kubelease.Transitions(s.lease().Annotations[kubelease.AnnotationTransitions])
		if len(list) == 0 {
			return false
		}
		last := list[len(list)-1]
		return last.Reason == "APIServerDead" && last.From == s.agentStatus(old).Identity &&
			last.To == s.agentStatus(next).Identity
	})
	s.must(s.c.Heal(t.Context()))
}
