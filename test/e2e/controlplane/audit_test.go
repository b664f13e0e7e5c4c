package controlplane

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// inUse is what an agent logs when it changes credentials.
const inUse = "credentials in use"

// mayStrike is how many requests in a row may get a 401: an API server that was frozen answers
// those that no test waits for, and cannot look up the user.
const mayStrike = 3

// checkRights is what every story asserts of every request by kvip in the API servers' audit logs:
// none was refused, and none came from an administrator once its agent had a token of its own. An
// API server that starts refuses everybody at first; what it says before it is ready counts for
// nothing.
func (s *env) checkRights() {
	if s.t.Failed() || s.anyRights {
		return
	}
	bootstrapped := map[string]time.Time{}
	for _, n := range s.c.Nodes {
		bootstrapped[n.Name] = s.firstOwn(n)
	}
	for _, n := range s.c.Nodes {
		events, err := n.AuditEvents(s.audited[n])
		s.must(err)
		strikes := map[string]int{}
		for _, e := range events {
			if e.UserAgent != "kvip" || !e.Received.After(s.readyAgain(n, e.Received, events)) {
				continue
			}
			asker := s.requester(n, e)
			if refusedTrial(e, bootstrapped[asker]) {
				continue
			}
			if e.ResponseStatus.Code == http.StatusUnauthorized {
				strikes[asker]++
			} else {
				strikes[asker] = 0
			}
			switch own := strings.HasPrefix(e.User.Username, "system:serviceaccount:"); {
			case e.ResponseStatus.Code == http.StatusForbidden || strikes[asker] > mayStrike:
				s.t.Errorf("%s at %s: refused with %d: %s as %q at %s", asker, n.Name, e.ResponseStatus.Code,
					askedFor(e), e.User.Username, e.Received.Format(time.StampMilli))
			case own || strikes[asker] > 0:
			case bootstrapped[asker].IsZero():
				s.t.Errorf("%s at %s: %s as %q, and never got a token of its own", asker, n.Name, askedFor(e),
					e.User.Username)
			case e.Received.After(bootstrapped[asker].Add(200 * time.Millisecond)):
				s.t.Errorf("%s at %s: %s as %q at %s, after it had a token of its own", asker, n.Name,
					askedFor(e), e.User.Username, e.Received.Format(time.StampMilli))
			}
			if s.t.Failed() {
				return
			}
		}
	}
}

// refusedTrial reports whether an agent tried a new token, to use it once the API server knows of
// it (pkg/tokenmanager): that may take many attempts where the API servers have just started.
func refusedTrial(e cluster.AuditEvent, used time.Time) bool {
	return e.ResponseStatus.Code == http.StatusUnauthorized && e.Received.Before(used) &&
		e.ObjectRef != nil && e.ObjectRef.Resource == "selfsubjectaccessreviews"
}

// firstOwn is when the node's agent began to use its own token; zero: never.
func (s *env) firstOwn(n *cluster.Node) time.Time {
	for line := range strings.Lines(logOf(s, n)) {
		if strings.Contains(line, inUse) && strings.Contains(line, "credentials=serviceaccount") {
			stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				return at
			}
		}
	}
	return time.Time{}
}

// readyAgain is when the API server that ran at an instant first reported to kvip that it is ready;
// the far future if it never did.
func (s *env) readyAgain(n *cluster.Node, at time.Time, events []cluster.AuditEvent) time.Time {
	began := n.APIStarted(at)
	if began.Before(s.began) { // it was ready when the story began
		return time.Time{}
	}
	i := slices.IndexFunc(events, func(e cluster.AuditEvent) bool {
		return e.Received.After(began) && strings.HasPrefix(e.RequestURI, "/readyz") &&
			e.ResponseStatus.Code == http.StatusOK
	})
	if i < 0 {
		return at
	}
	return events[i].Received
}

// requester is the node that a request came from.
func (s *env) requester(at *cluster.Node, e cluster.AuditEvent) string {
	for _, n := range s.c.Nodes {
		for _, p := range n.Host.Addrs {
			if slices.Contains(e.From, p.Addr()) {
				return n.Name
			}
		}
	}
	if slices.ContainsFunc(e.From, netip.Addr.IsLoopback) {
		return at.Name
	}
	return "an unknown host"
}
