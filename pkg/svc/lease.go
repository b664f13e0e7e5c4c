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
	"github.com/kvip/kvip/pkg/liveness"
)

// LabelRole is the label of the Leases of kvip's Services. Its value is their role.
const LabelRole = kubelease.LabelRole

// Values of LabelRole. The Lease of the leading allocator has no label if its name is kube-vip's.
const (
	RoleNode   = "node"   // heartbeat of one node's speaker (S1)
	RoleLedger = "ledger" // a shard of the ledger (S4)
	// RoleControlPlane is the election of a control plane's virtual IP, whatever its name.
	RoleControlPlane = kubelease.RoleControlPlane
)

// Annotations of Leases.
const (
	// AnnotationNode is the JSON of NodeInfo, on a node's Lease.
	AnnotationNode = "kvip.dev/node"
	// AnnotationLedger is the JSON of a part of the ledger, on a shard: entries by address.
	AnnotationLedger = "kvip.dev/ledger"
	// AnnotationLeader names the writer of the leading allocator's Lease, so that kvip does not take
	// another program's write for its own.
	AnnotationLeader = "kvip.dev/leader"
)

// NodeLease returns the name of a node's Lease. The names of all Leases begin with that of the
// leading allocator. Others, from before a change of that name, do not count.
func NodeLease(leader, node string) string { return leader + "-node-" + node }

// LedgerPrefix returns the beginning of the shards' names; a number follows.
func LedgerPrefix(leader string) string { return leader + "-ledger-" }

// maxShardNumber is larger than the number of any shard, so that each one has a successor.
const maxShardNumber = 1 << 20

// Shard returns the number of a shard by its name, -1 if name is not that of a shard.
func Shard(leader, name string) int {
	digits, ok := strings.CutPrefix(name, LedgerPrefix(leader))
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || strconv.Itoa(n) != digits || n < 0 || n > maxShardNumber { // not 01
		return -1
	}
	return n
}

// maxDuration bounds the duration of a Lease: any node may write any Lease, and a dead node with
// the largest number would count as alive for 68 years. It is that of nodes in a cluster of 5000,
// which Kubernetes supports (https://kubernetes.io/docs/setup/best-practices/cluster-large/).
var maxDuration = liveness.Duration(5000)

// Lease is the decoded part of a Lease.
type Lease struct {
	metav1.ObjectMeta // namespace, name, UID and resourceVersion only
	Role              string
	Holder            string
	Duration          time.Duration // at most maxDuration, not negative
	Renewed           time.Time
	// Leader is the value of AnnotationLeader.
	Leader string
	// Info is set on a node's Lease.
	Info NodeInfo
	// Entries is set on a shard.
	Entries ipam.Ledger
	// Edited reports that the shard has other entries than Entries, which kvip has not written.
	Edited bool
	// ControlPlane lists the virtual IPs, on a control plane's Lease.
	ControlPlane []netip.AddrPort
}

// ReadLease decodes l. An annotation that it cannot read counts as absent.
func ReadLease(l *coordinationv1.Lease) *Lease {
	result := &Lease{
		ObjectMeta: identified(l), Role: l.Labels[LabelRole], Leader: l.Annotations[AnnotationLeader],
	}
	if l.Spec.HolderIdentity != nil {
		result.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseDurationSeconds != nil {
		duration := time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
		result.Duration = min(max(duration, 0), maxDuration)
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

// belongs reports whether l is a control plane's Lease, or its name is that of a node or a shard of
// the leading allocator's Lease.
func (l *Lease) belongs(leader string) bool {
	switch l.Role {
	case RoleControlPlane:
		return true
	case RoleNode:
		return l.Name == NodeLease(leader, l.Info.Node)
	case RoleLedger:
		return Shard(leader, l.Name) >= 0
	}
	return false
}

// sameLease reports whether b is a renewal of a without another change.
func sameLease(a, b *Lease) bool {
	return a.Role == b.Role && a.Holder == b.Holder && a.Leader == b.Leader &&
		a.Duration == b.Duration &&
		reflect.DeepEqual(a.Info, b.Info) && a.Entries.Equal(b.Entries) && a.Edited == b.Edited &&
		slices.Equal(a.ControlPlane, b.ControlPlane)
}
