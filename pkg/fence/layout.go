package fence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/netdev"
)

// The frames that change the sets. Their mark cannot cross network namespaces, and setting one
// needs CAP_NET_ADMIN or CAP_NET_RAW (socket(7)), so that no pod without host privileges can send
// them. Their EtherType is one for experiments (IEEE 802, appendix of RFC 9542): no protocol of the
// host receives them if the table is missing.
const (
	frameMark      = 0x6b766970
	frameEtherType = 0x88b5
)

// Codes of frames. A frame is the address and a code of two bytes; that of a ticket has a number as
// well, which no rule reads.
const (
	codeTicket    = 1
	codeClose     = 2      // deletes alive
	codeServe     = 3      // renews serve
	codeLinger    = 4      // puts linger, with a ticket
	codeAnnounced = 5      // deletes linger
	codeStop      = 6      // deletes linger and serve
	codeGuard     = 0x0100 // plus the index of guardLifetimes
	codeRenew     = 0x0200 // plus the index of lifetimes
)

// ticketLifetime is how long after a ticket the kernel accepts a renewal, less a jiffy.
const ticketLifetime = 10 * time.Millisecond

// guardLifetimes are those of the guard element. The table drops only while it stands: a table that
// is left behind harms no other program.
var guardLifetimes = func() (list []time.Duration) {
	for life := 16 * time.Second; life <= 2*time.Hour; life *= 2 {
		list = append(list, life)
	}
	return list
}()

// guardCode returns the code that guards an address for at least life, or as long as can be.
func guardCode(life time.Duration) uint16 {
	i := slices.IndexFunc(guardLifetimes, func(g time.Duration) bool { return g >= life })
	if i < 0 {
		i = len(guardLifetimes) - 1
	}
	return codeGuard + uint16(i)
}

// Names of sets and chains. Keys are the address, except in relays.
const (
	tablePrefix = "kvip-fence-"
	setAlive    = "alive"  // the address is answered for, and served
	setGuard    = "guard"  // the table drops at all
	setTicket   = "ticket" // a renewal is accepted
	setLinger   = "linger" // packets are served, from all hosts
	setServe    = "serve"  // packets are served, from relays
	setRelays   = "relays" // hardware addresses
	mapOwn      = "own"    // the address of this host, by which it asks for neighbours
	chainOut    = "out"
	chainRenew  = "renew"
)

// Linger is how long a holder that leaves serves packets that are not relayed, at most.
const Linger = 500 * time.Millisecond

// serveFor is how long relayed packets are served without a renewal.
const serveFor = 2 * time.Second

// setSize is the number of elements that a set may have, with those that ended since the kernel
// last collected them, once a second: each ticket is one.
const setSize = 1 << 16

// priority is that of the chains: before those of other programs.
const priority = -500

// Registers: an address, and what belongs to it.
const (
	regKey  = unix.NFT_REG_1
	regMore = unix.NFT_REG_2
)

// layout has what the table of an address consists of, except for the link.
type layout struct {
	vip       netip.Addr
	lifetimes []time.Duration
}

func newLayout(vip netip.Addr, longest time.Duration) layout {
	return layout{vip: vip, lifetimes: lifetimes(longest)}
}

func tableName(vip netip.Addr) string { return netdev.TableName(tablePrefix, vip) }

// chainIn returns the name of the chain at the ingress hook. It identifies the layout and the link:
// a table with this chain can be taken over as it is. The kernel removes the chain with the link,
// or hooks it to the next link of that name (Linux 6.16).
func (l layout) chainIn(device string, egress bool) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "4 %s %q %t %d", l.vip, device, egress, len(l.lifetimes)))
	return "in-" + hex.EncodeToString(sum[:8])
}

func (l layout) size() uint32 { return uint32(l.vip.BitLen() / 8) }

// in are the rules for what comes from the link: questions for the address, and packets to it.
func (l layout) in() [][]expr.Any {
	questions := netdev.Protocol(unix.ETH_P_ARP)
	asked := netdev.LoadNetwork(regKey, 24, 4) // target protocol address, RFC 826
	packets, to := netdev.Protocol(unix.ETH_P_IP), netdev.LoadNetwork(regKey, 16, 4)
	if l.vip.Is6() {
		questions = netdev.Neighbour(135)
		asked = netdev.LoadTransport(regKey, 8, 16) // target of a solicitation, RFC 4861 4.3
		packets, to = netdev.Protocol(unix.ETH_P_IPV6), netdev.LoadNetwork(regKey, 24, 16)
	}
	return [][]expr.Any{
		rule(questions, asked, with(setGuard), without(setAlive), netdev.Drop()),
		rule(packets, to, with(setServe), netdev.LoadLink(regMore, 6, 6),
			&expr.Lookup{SourceRegister: regMore, SetName: setRelays}, netdev.Accept()),
		rule(packets, to, with(setGuard), without(setAlive), without(setLinger), netdev.Drop()),
	}
}

// out are the rules for what this host sends to the link: answers and announcements, and packets
// from the address. A host that serves the address and must not answer for it asks for neighbours
// by its own address: its questions would tell them that the address is here.
func (l layout) out() [][]expr.Any {
	answers := netdev.Protocol(unix.ETH_P_ARP)
	answered := netdev.LoadNetwork(regKey, 14, 4) // sender protocol address
	packets, from := netdev.Protocol(unix.ETH_P_IP), netdev.LoadNetwork(regKey, 12, 4)
	if l.vip.Is6() {
		answers = netdev.Neighbour(136)
		answered = netdev.LoadTransport(regKey, 8, 16) // target of an advertisement, 4.4
		packets, from = netdev.Protocol(unix.ETH_P_IPV6), netdev.LoadNetwork(regKey, 8, 16)
	}
	rules := [][]expr.Any{l.ask()}
	if l.vip.Is6() { // a question by the address that ask has not changed
		rules = append(rules, rule(netdev.Neighbour(135), from, with(setGuard), without(setAlive),
			netdev.Drop()))
	}
	return append(rules,
		rule(answers, answered, with(setGuard), without(setAlive), netdev.Drop()),
		rule(packets, from, with(setGuard), without(setAlive), without(setServe), netdev.Drop()),
	)
}

// ask gives questions of a host that only serves the address the host's own one as sender.
func (l layout) ask() []expr.Any {
	match := append(netdev.Protocol(unix.ETH_P_ARP), netdev.LoadNetwork(regKey, 6, 2),
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: netdev.BigEndian(1)}) // a request
	sender := expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 14, Len: 4}
	if l.vip.Is6() {
		match = netdev.Neighbour(135)
		sender.Offset, sender.Len = 8, 16
		// The checksum of ICMPv6 covers the sender. The kernel sends solicitations without other headers.
		sender.CsumType, sender.CsumOffset = expr.CsumTypeInet, 40+2
	}
	load, store := sender, sender
	load.DestRegister = regKey
	store.OperationType, store.SourceRegister = expr.PayloadWrite, regMore
	return rule(match, &load, with(setServe), without(setAlive), &expr.Lookup{
		SourceRegister: regKey, SetName: mapOwn, DestRegister: regMore, IsDestRegSet: true,
	}, &store)
}

// with and without match if the address in regKey is in a set, or is not.
func with(set string) expr.Any { return &expr.Lookup{SourceRegister: regKey, SetName: set} }

func without(set string) expr.Any {
	return &expr.Lookup{SourceRegister: regKey, SetName: set, Invert: true}
}

// rule appends to a match, which is shared.
func rule(match []expr.Any, more ...expr.Any) []expr.Any { return slices.Concat(match, more) }

// renew are the rules for frames on the loopback link.
func (l layout) renew() [][]expr.Any {
	frame := []expr.Any{ // of this address: each table sees those of all
		netdev.LoadNetwork(regKey, 0, l.size()),
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: l.vip.AsSlice()},
		netdev.LoadNetwork(regMore, l.size(), 2),
	}
	isCode := func(code uint16) expr.Any {
		return &expr.Cmp{Op: expr.CmpOpEq, Register: regMore, Data: netdev.BigEndian(code)}
	}
	on := func(code uint16, does ...expr.Any) []expr.Any {
		return append(append(rule(frame, isCode(code)), does...), netdev.Drop())
	}
	mark := binaryutil.NativeEndian.PutUint32(frameMark)
	rules := [][]expr.Any{
		{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: regKey},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: mark},
			netdev.Accept(),
		},
		rule(netdev.NotProtocol(frameEtherType), netdev.Accept()),
		append(rule(frame, isCode(codeTicket), update(setTicket, ticketLifetime)), netdev.Accept()),
		on(codeClose, remove(setAlive)),
		on(codeServe, update(setServe, serveFor)),
		on(codeAnnounced, remove(setLinger)),
		on(codeStop, remove(setLinger), remove(setServe)),
	}
	for i, life := range guardLifetimes {
		rules = append(rules, on(codeGuard+uint16(i), update(setGuard, life)))
	}
	rules = append(rules, rule(frame, without(setTicket), netdev.Drop()),
		on(codeLinger, update(setLinger, Linger)))
	for i, life := range l.lifetimes {
		rules = append(rules, on(codeRenew+uint16(i), update(setAlive, life)))
	}
	return rules
}

// update and remove change the address's element of a set.
func update(set string, life time.Duration) expr.Any {
	return &expr.Dynset{
		SrcRegKey: regKey, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: life,
	}
}

func remove(set string) expr.Any {
	return &expr.Dynset{SrcRegKey: regKey, SetName: set, Operation: dynsetDelete}
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h (Linux 5.4).
const dynsetDelete = 2

// own is the map with the address by which this host asks for neighbours.
func (l layout) own(table *nftables.Table) *nftables.Set {
	key := netdev.KeyType(l.vip)
	return &nftables.Set{Table: table, Name: mapOwn, KeyType: key, DataType: key, IsMap: true}
}

// build writes sets, chains and rules for a link to the table, in one transaction. The address is
// guarded for a short time, and is in no other set.
func (l layout) build(t *netdev.Table, device string, egress bool) error {
	key := netdev.KeyType(l.vip)
	sets := []*nftables.Set{
		{Name: setRelays, KeyType: nftables.TypeEtherAddr},
		l.own(t.Ref()),
	}
	for _, name := range []string{setAlive, setGuard, setTicket, setLinger, setServe} {
		sets = append(sets, &nftables.Set{
			Name: name, KeyType: key, HasTimeout: true, Dynamic: true,
			KeyByteOrder: binaryutil.BigEndian, Size: setSize,
		})
	}
	for i, set := range sets {
		set.Table, set.ID = t.Ref(), uint32(i+1)
		var elements []nftables.SetElement
		if set.Name == setGuard {
			elements = []nftables.SetElement{{Key: l.vip.AsSlice(), Timeout: guardLifetimes[0]}}
		}
		if err := t.Conn.AddSet(set, elements); err != nil {
			return fmt.Errorf("build nftables table %s: %w", t.Name(), err)
		}
	}
	t.AddChain(netdev.Chain{
		Name: l.chainIn(device, egress), Hook: nftables.ChainHookIngress, Device: device,
		Priority: priority, Rules: l.in(),
	})
	if egress {
		t.AddChain(netdev.Chain{
			Name: chainOut, Hook: nftables.ChainHookEgress, Device: device, Priority: priority,
			Rules: l.out(),
		})
	}
	t.AddChain(netdev.Chain{
		Name: chainRenew, Hook: nftables.ChainHookIngress, Device: "lo", Priority: priority,
		Rules: l.renew(),
	})
	return t.Flush("build")
}
