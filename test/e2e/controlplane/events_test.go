package controlplane

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election/kubelease"
)

// checkEvents waits until the Events of this story about the lease are one for
// each change of holder that the lease itself remembers, with the same reason.
func (s *env) checkEvents() {
	s.t.Helper()
	var want, got []string
	defer func() {
		if s.t.Failed() {
			s.t.Logf("transitions %q\nEvents %q", want, got)
		}
	}()
	s.wait("one Event for each transition", func() bool {
		want, got = s.transitions(), s.events()
		return len(want) > 0 && slices.Equal(want, got)
	})
}

// transitions are the changes of holder that the lease remembers, in order of text.
func (s *env) transitions() (all []string) {
	kube, err := s.c.Kube(s.holder())
	s.must(err)
	lease, err := kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.t.Context(), "kvip",
		metav1.GetOptions{})
	s.must(err)
	for _, x := range kubelease.Transitions(lease.Annotations[kubelease.AnnotationTransitions]) {
		from, _, _ := strings.Cut(x.From, "_")
		to, _, _ := strings.Cut(x.To, "_")
		all = append(all, fmt.Sprintf("%s: moved from %s to %s", x.Reason, cmp.Or(from, "no node"), to))
	}
	slices.Sort(all)
	return all
}

// events are the Events of this story about the lease, in order of text.
func (s *env) events() (all []string) {
	kube, err := s.c.Kube(s.holder())
	s.must(err)
	list, err := kube.CoreV1().Events(metav1.NamespaceSystem).List(s.t.Context(),
		metav1.ListOptions{FieldSelector: "involvedObject.kind=Lease,involvedObject.name=kvip"})
	s.must(err)
	for _, e := range list.Items {
		// nanoseconds, as FirstTimestamp has none
		at, err := strconv.ParseInt(strings.TrimPrefix(e.Name, "kvip."), 16, 64)
		s.must(err)
		if at < s.began.UnixNano() {
			continue // of an earlier story
		}
		_, moved, _ := strings.Cut(e.Message, " ")
		moved, _, _ = strings.Cut(moved, ": ")
		all = append(all, e.Reason+": "+moved)
	}
	slices.Sort(all)
	return all
}
