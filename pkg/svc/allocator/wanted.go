package allocator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// Reasons of a Service's condition beside those of ipam and place.
const (
	// ReasonAllocated: it has what it wants.
	ReasonAllocated = "Allocated"
	// ReasonForeignClass: it had an address from kvip, and is not kvip's any more.
	ReasonForeignClass = "ForeignClass"
	// ReasonForeignStatus: another program owns its status.
	ReasonForeignStatus = "ForeignStatus"
)

// wish is what a Service's status is to say.
type wish struct {
	clear     bool // remove all that kvip has written
	others    bool // the addresses are another program's: the condition alone is written
	take      bool // the addresses were another program's, and are kvip's now
	addresses []netip.Addr
	ok        bool // the condition's status
	reason    string
	message   string
}

func (w wish) refused() bool { return !w.clear && !w.ok }

// wanted says what a Service's status is to say; false if kvip has no business with it.
func (a *Allocator) wanted(s *svc.Service, result ipam.Result, other string) (wish, bool) {
	if !s.Managed {
		return wish{clear: true, reason: ReasonForeignClass, message: s.SkipReason}, s.Condition != nil
	}
	if other != "" {
		return wish{others: true, reason: ReasonForeignStatus, message: fmt.Sprintf(
			"service %s: status.loadBalancer belongs to %s, and kvip gives it no address: stop that program, or give the Service another loadBalancerClass", s.Owner(), other)}, true
	}
	w := wish{addresses: result.Assigned[s.Owner()], ok: true, reason: ReasonAllocated, take: len(s.StatusBy) > 0}
	w.message = "has " + joined(w.addresses)
	if refusal, refused := result.Refused[s.Owner()]; refused {
		w.ok, w.reason, w.message = false, string(refusal.Reason), refusal.Message
		return w, true
	}
	for _, addr := range w.addresses {
		switch d, why := a.cfg.Placement(addr); {
		case d.Reason == "" && saysUnannounced(s) && slices.Equal(s.Status, w.addresses):
			// Nobody knows, as in an outage: what was said stands (S2).
			w.ok, w.reason, w.message = false, s.Condition.Reason, s.Condition.Message
			return w, true
		case d.Reason != "" && !d.Announced():
			w.ok, w.reason = false, string(d.Reason)
			w.message = fmt.Sprintf("service %s: %s is announced by no node: %s", s.Owner(), addr, why)
		}
	}
	if len(s.Notes) > 0 {
		w.message += "; " + strings.Join(s.Notes, "; ")
	}
	return w, true
}

// saysUnannounced reports whether the condition of s says why no node announces it.
func saysUnannounced(s *svc.Service) bool {
	return s.Condition != nil && placement.Reason(s.Condition.Reason).Sentence() != ""
}

// brief is w with a message that the API takes, whatever users wrote.
func (w wish) brief() wish {
	w.message = svc.Brief(w.message)
	return w
}

// met is whether the Service says so already.
func (w wish) met(s *svc.Service) bool {
	if w.clear {
		return s.Condition == nil
	}
	if s.Condition == nil || s.Condition.Reason != w.reason || s.Condition.Message != w.message || (s.Condition.Status == metav1.ConditionTrue) != w.ok {
		return false
	}
	if w.others {
		return true
	}
	if s.StatusUnreadable || len(s.Status) != len(w.addresses) {
		return false
	}
	for i := range s.Status {
		if s.Status[i] != w.addresses[i] {
			return false
		}
	}
	return true
}

func joined(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and ")
}
