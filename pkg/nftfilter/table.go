package nftfilter

import (
	"errors"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"
)

// priority of the chain in the hook prerouting: after conntrack (-200), which knows the
// established connections, and before the redirection of destinations (-100), where kube-proxy
// would redirect a packet for its NodePorts (S5). Its nftables mode begins at -110.
const priority = -120

// portsOutlive is how much longer an allowed port lives than its address: when the elements of
// a killed kvip expire, an address must not be protected after its ports have expired.
const portsOutlive = 10 * time.Second

// perMessage is the number of elements in one message. The length of an attribute has 16 bits,
// and the longest element takes 36 bytes.
const perMessage = 1024

// family has the differences between IPv4 and IPv6.
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

// batch collects the messages of one transaction, and the errors in making them.
type batch struct {
	conn *nftables.Conn
	err  error
}

func kvipTable() *nftables.Table {
	return &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
}

func (b *batch) remove() { b.conn.DelTable(kvipTable()) }

// table replaces the rules and sets. With rebuild it first replaces the whole table, with
// everything that another version added. Each object is added before it is deleted, because to
// delete a missing one fails.
//
// Without rebuild the chain is kept: a new one would be hooked in beside the old one, and a
// packet between the two at the time of the change would meet the rules of neither. The sets
// are replaced: kernels before 6.17 can miss an element that is deleted and added in one
// transaction.
func (b *batch) table(e elements, timeout time.Duration, rebuild bool) {
	t := b.conn.AddTable(kvipTable())
	if rebuild {
		b.conn.DelTable(t)
		b.conn.AddTable(t)
	}
	accept := nftables.ChainPolicyAccept
	chain := b.conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(priority),
	})
	b.conn.FlushTable(t) // the rules: a set that they name cannot be deleted
	for i, f := range []family{family4, family6} {
		id := uint32(2 * i)
		key, err := nftables.ConcatSetType(f.address, nftables.TypeInetProto, nftables.TypeInetService)
		b.fail(err)
		b.set(&nftables.Set{
			Table: t, ID: id + 1, Name: f.addresses, KeyType: f.address, Timeout: timeout,
		}, e[f.addresses])
		b.set(&nftables.Set{
			Table: t, ID: id + 2, Name: f.ports, KeyType: key, Concatenation: true,
			Timeout: timeout + portsOutlive,
		}, e[f.ports])
	}
	for _, exprs := range rules() {
		b.conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
}

// set replaces a set. All elements have its timeout.
func (b *batch) set(s *nftables.Set, list []nftables.SetElement) {
	s.HasTimeout, s.KeyByteOrder = true, binaryutil.BigEndian
	b.fail(b.conn.AddSet(s, nil))
	b.conn.DelSet(s)
	b.fail(b.conn.AddSet(s, nil))
	for part := range slices.Chunk(list, perMessage) {
		b.fail(b.conn.SetAddElements(s, part))
	}
}

func (b *batch) fail(err error) { b.err = errors.Join(b.err, err) }
