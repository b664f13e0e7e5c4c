package svc

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/ipam"
)

// LabelRole tells the Leases of the Services part from others, and from each other.
const LabelRole = kubelease.LabelRole

// Values of LabelRole. The Lease of the seat has no label of its own where its name is kube-vip's.
const (
	RoleNode   = "node"   // one an announcing node: it is alive (S1)
	RoleLedger = "ledger" // which Service has which address (S4)
	// RoleControlPlane is the election of the control plane's virtual IP, whatever its name.
	RoleControlPlane = kubelease.RoleControlPlane
)

// Annotations of the Leases of the Services part.
const (
	// AnnotationNode is, on a node's Lease, JSON of NodeInfo.
	AnnotationNode = "kvip.dev/node"
	// AnnotationLedger is, on a Lease of the ledger, JSON: from each address to the Services that have it.
	AnnotationLedger = "kvip.dev/ledger"
	// AnnotationLeader is, on the Lease of the seat, who wrote it, so that a write of another program is
	// not taken for a kvip's.
	AnnotationLeader = "kvip.dev/leader"
)

// NodeLease is the name of a node's Lease. The names of all Leases of the Services part begin with that of
// the seat: those of an earlier name do not count any more.
func NodeLease(seat, node string) string { return seat + "-node-" + node }

// LedgerPrefix begins the names of the ledger's Leases; a number follows.
func LedgerPrefix(seat string) string { return seat + "-ledger-" }

// maxShard is more than a ledger grows to: there is a number behind each that counts.
const maxShard = 1 << 20

// Shard is the number of a Lease of the ledger by its name, -1 if that is none.
func Shard(seat, name string) int {
	rest, ok := strings.CutPrefix(name, LedgerPrefix(seat))
	n, err := strconv.Atoi(rest)
	if !ok || err != nil || strconv.Itoa(n) != rest || n < 0 || n > maxShard { // 01 is no number of a shard
		return -1
	}
	return n
}

// Lease is what kvip reads of a Lease.
type Lease struct {
	metav1.ObjectMeta
	Role     string
	Holder   string
	Duration time.Duration
	Renewed  time.Time
	// Leader is the annotation of that name.
	Leader string
	// Info is set on a node's Lease.
	Info NodeInfo
	// Entries are set on a Lease of the ledger.
	Entries ipam.Ledger
	// Edited says that the Lease has other entries than Entries, which no kvip has written.
	Edited bool
	// ControlPlane are the virtual IPs, on a Lease of the control plane.
	ControlPlane []netip.AddrPort
}

// ReadLease decodes l. What other programs put there is taken as it is; an annotation that cannot be
// read counts as absent.
func ReadLease(l *coordinationv1.Lease) *Lease {
	result := &Lease{ObjectMeta: identified(l), Role: l.Labels[LabelRole], Leader: l.Annotations[AnnotationLeader]}
	if l.Spec.HolderIdentity != nil {
		result.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseDurationSeconds != nil {
		result.Duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	if l.Spec.RenewTime != nil {
		result.Renewed = l.Spec.RenewTime.Time
	}
	switch result.Role {
	case RoleNode:
		result.Info = readNodeInfo(l.Annotations[AnnotationNode])
	case RoleLedger:
		result.Entries = DecodeLedger(l.Annotations[AnnotationLedger])
	case RoleControlPlane:
		result.ControlPlane = kubelease.Addresses(l)
	}
	return result
}

// belongs is whether l is one of those that go with the seat, or the control plane's.
func (l *Lease) belongs(seat string) bool {
	return l.Role == RoleControlPlane || l.Role == RoleNode && l.Name == NodeLease(seat, l.Info.Node) ||
		l.Role == RoleLedger && Shard(seat, l.Name) >= 0
}

// sameLease is whether b is a as it was renewed.
func sameLease(a, b *Lease) bool {
	return a.Role == b.Role && a.Holder == b.Holder && a.Leader == b.Leader && a.Duration == b.Duration && reflect.DeepEqual(a.Info, b.Info) && a.Entries.Equal(b.Entries) && a.Edited == b.Edited &&
		slices.Equal(a.ControlPlane, b.ControlPlane)
}
