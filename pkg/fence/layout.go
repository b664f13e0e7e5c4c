package fence

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The frames that change the sets. Their mark cannot cross network namespaces, and setting one
// needs CAP_NET_ADMIN or CAP_NET_RAW (socket(7)), so that no pod without host privileges can send
// them. Their EtherType is one for experiments (IEEE 802, appendix of RFC 9542): no protocol of the
// host receives them if the table is missing.
const (
	frameMark      = 0x6b766970
	frameEtherType = 0x88b5
)

// Codes of frames. A frame is the address and a code of two bytes.
const (
	codeTicket = 1
	codeClose  = 2
	codeGuard  = 0x0100 // plus the index of guardLifetimes
	codeRenew  = 0x0200 // plus the index of lifetimes
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

// Names of sets and chains.
const (
	tablePrefix = "kvip-fence-"
	setAlive    = "alive"
	setGuard    = "guard"
	setTicket   = "ticket"
	chainOut    = "out"
	chainRenew  = "renew"
)

// priority is that of the chains: before those of other programs.
const priority = -500

// key is the first register of an address. code is that of a frame's code.
const (
	regKey  = unix.NFT_REG_1
	regCode = unix.NFT_REG_2
)

// layout has what the table of an address consists of, except for the link.
type layout struct {
	vip       netip.Addr
	lifetimes []time.Duration
}

func newLayout(vip netip.Addr, longest time.Duration) layout {
	return layout{vip: vip, lifetimes: lifetimes(longest)}
}

// tableName returns the name of an address's table, which nft(8) accepts without quotes.
func tableName(vip netip.Addr) string {
	return tablePrefix + strings.ReplaceAll(vip.String(), ":", "-")
}

// chainIn returns the name of the chain at the ingress hook. It identifies the layout and the link:
// a table with this chain can be taken over as it is. The kernel removes the chain with the link,
// or hooks it to the next link of that name (Linux 6.16).
func (l layout) chainIn(device string, egress bool) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "1 %s %q %t %d", l.vip, device, egress, len(l.lifetimes)))
	return "in-" + hex.EncodeToString(sum[:8])
}

func (l layout) size() uint32 { return uint32(l.vip.BitLen() / 8) }

// in are the rules for what comes from the link: questions for the address, and packets to it.
func (l layout) in() [][]expr.Any {
	if l.vip.Is4() {
		return [][]expr.Any{
			l.dropUnlessAlive(isARP(), network(24, 4)), // target protocol address, RFC 826
			l.dropUnlessAlive(isProtocol(unix.ETH_P_IP), network(16, 4)),
		}
	}
	return [][]expr.Any{
		l.dropUnlessAlive(isNeighbour(135), transport(8, 16)), // target of a solicitation, RFC 4861 4.3
		l.dropUnlessAlive(isProtocol(unix.ETH_P_IPV6), network(24, 16)),
	}
}

// out are the rules for what this host sends to the link: answers and announcements, and packets
// from the address.
func (l layout) out() [][]expr.Any {
	if l.vip.Is4() {
		return [][]expr.Any{
			l.dropUnlessAlive(isARP(), network(14, 4)), // sender protocol address
			l.dropUnlessAlive(isProtocol(unix.ETH_P_IP), network(12, 4)),
		}
	}
	return [][]expr.Any{
		l.dropUnlessAlive(isNeighbour(136), transport(8, 16)), // target of an advertisement, 4.4
		l.dropUnlessAlive(isProtocol(unix.ETH_P_IPV6), network(8, 16)),
	}
}

// renew are the rules for frames on the loopback link.
func (l layout) renew() [][]expr.Any {
	frame := []expr.Any{ // of this address: each table sees those of all
		network(0, l.size()),
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: l.vip.AsSlice()},
		code(l.size()),
	}
	update := func(set string, life time.Duration) expr.Any {
		return &expr.Dynset{
			SrcRegKey: regKey, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: life,
		}
	}
	rule := func(number uint16, more ...expr.Any) []expr.Any {
		r := append([]expr.Any{}, frame...)
		r = append(r, &expr.Cmp{Op: expr.CmpOpEq, Register: regCode, Data: bigEndian(number)})
		return append(append(r, more...), drop())
	}
	mark := binaryutil.NativeEndian.PutUint32(frameMark)
	rules := [][]expr.Any{
		{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: regKey},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: mark},
			&expr.Verdict{Kind: expr.VerdictAccept},
		},
		append(not(frameEtherType), &expr.Verdict{Kind: expr.VerdictAccept}),
		rule(codeTicket, update(setTicket, ticketLifetime)),
		rule(codeClose, &expr.Dynset{SrcRegKey: regKey, SetName: setAlive, Operation: dynsetDelete}),
	}
	for i, life := range guardLifetimes {
		rules = append(rules, rule(codeGuard+uint16(i), update(setGuard, life)))
	}
	rules = append(rules, append(append([]expr.Any{}, frame...),
		&expr.Lookup{SourceRegister: regKey, SetName: setTicket, Invert: true}, drop()))
	for i, life := range l.lifetimes {
		rules = append(rules, rule(codeRenew+uint16(i), update(setAlive, life)))
	}
	return rules
}

// dynsetDelete is NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h (Linux 5.4).
const dynsetDelete = 2

// dropUnlessAlive drops what matches while the address is guarded and not alive.
func (l layout) dropUnlessAlive(match []expr.Any, load expr.Any) []expr.Any {
	return append(match, load,
		&expr.Lookup{SourceRegister: regKey, SetName: setGuard},
		&expr.Lookup{SourceRegister: regKey, SetName: setAlive, Invert: true}, drop())
}

func drop() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

func isProtocol(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: bigEndian(etherType)},
	}
}

func not(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: bigEndian(etherType)},
	}
}

func isARP() []expr.Any { return isProtocol(unix.ETH_P_ARP) }

// isNeighbour matches ICMPv6 messages of a type.
func isNeighbour(icmpType byte) []expr.Any {
	return append(isProtocol(unix.ETH_P_IPV6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: regKey, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{icmpType}})
}

func network(offset, length uint32) expr.Any {
	return &expr.Payload{
		DestRegister: regKey, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length,
	}
}

func transport(offset, length uint32) expr.Any {
	return &expr.Payload{
		DestRegister: regKey, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length,
	}
}

// code loads a frame's code.
func code(offset uint32) expr.Any {
	return &expr.Payload{
		DestRegister: regCode, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 2,
	}
}

func (l layout) keyType() nftables.SetDatatype {
	if l.vip.Is4() {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

func bigEndian(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
