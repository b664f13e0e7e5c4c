package nftfilter

import (
	"errors"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"
)

// priority of the chain in the hook prerouting: behind conntrack (-200), which says what is
// established, and before the redirection of destinations (-100), where kube-proxy's NodePorts
// would take the packet (S5). Its nftables mode begins at -110.
const priority = -120

// portsOutlive is how much longer an allowed port stays than its address: when the elements of
// a killed kvip time out, no packet may find the address protected and its port gone.
const portsOutlive = 10 * time.Second

// perMessage is the number of elements in one message. The length of an attribute is 16 bits
// wide, and the longest element takes 36 bytes.
const perMessage = 1024

// family is what differs between IPv4 and IPv6.
type family struct {
	proto            byte
	addresses, ports string // names of the sets
	offset, length   uint32 // of the destination in the IP header, in bytes
	address          nftables.SetDatatype
}

var (
	family4 = family{unix.NFPROTO_IPV4, "addresses4", "ports4", 16, 4, nftables.TypeIPAddr}
	family6 = family{unix.NFPROTO_IPV6, "addresses6", "ports6", 24, 16, nftables.TypeIP6Addr}
)

// batch collects the messages of one transaction, and the first error in making them.
type batch struct {
	conn *nftables.Conn
	err  error
}

func kvipTable() *nftables.Table {
	return &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
}

func (b *batch) remove() { b.conn.DelTable(kvipTable()) }

// table replaces rules and sets, and anew the whole table first, with whatever another version
// put into it. Each thing is added before it is deleted, because only what is there can be.
//
// Otherwise the chain stays, because a new one is hooked in beside the old one, and a packet
// between the two at the instant of the change would meet neither's rules. The sets do not
// stay: kernels before 6.17 can miss an element that is deleted and added in one transaction.
func (b *batch) table(c content, timeout time.Duration, anew bool) {
	t := b.conn.AddTable(kvipTable())
	if anew {
		b.conn.DelTable(t)
		b.conn.AddTable(t)
	}
	accept := nftables.ChainPolicyAccept
	chain := b.conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(priority),
	})
	b.conn.FlushTable(t) // the rules: what they name cannot be deleted
	for i, f := range []family{family4, family6} {
		id := uint32(2 * i)
		key, err := nftables.ConcatSetType(f.address, nftables.TypeInetProto, nftables.TypeInetService)
		b.fail(err)
		b.set(&nftables.Set{Table: t, ID: id + 1, Name: f.addresses, KeyType: f.address, Timeout: timeout}, c[f.addresses])
		b.set(&nftables.Set{Table: t, ID: id + 2, Name: f.ports, KeyType: key, Concatenation: true, Timeout: timeout + portsOutlive}, c[f.ports])
	}
	for _, exprs := range rules() {
		b.conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
}

// set makes a set with these elements, which all have its timeout.
func (b *batch) set(s *nftables.Set, elements []nftables.SetElement) {
	s.HasTimeout, s.KeyByteOrder = true, binaryutil.BigEndian
	b.fail(b.conn.AddSet(s, nil))
	b.conn.DelSet(s)
	b.fail(b.conn.AddSet(s, nil))
	for part := range slices.Chunk(elements, perMessage) {
		b.fail(b.conn.SetAddElements(s, part))
	}
}

func (b *batch) fail(err error) { b.err = errors.Join(b.err, err) }
