package relay

import (
	"encoding/binary"
	"errors"
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

// Names of sets and of the chain.
const (
	setFlows = "flows" // connections of this host
	mapMoved = "moved" // connections of other hosts, with their hardware addresses
	setHosts = "hosts" // their hardware addresses
	mapLast  = "last"  // the address, with the hardware address of the last holder
	chainIn  = "in"
)

const (
	// maxFlows limits this host's connections in the kernel: 400 new ones a second for a drain of ten
	// minutes. Beyond it the last holder gets new ones.
	maxFlows = 1 << 18
	// flowLifetime is how long a connection of this host without packets is known.
	flowLifetime = 15 * time.Minute
	// flowsPerRequest limits the elements of one attribute of netlink, which has 64 KiB at most, and
	// flowsAtOnce those of one transaction, which has to fit the buffer of the socket.
	flowsPerRequest = 500
	flowsAtOnce     = 5000
	// priority is that of the chain: after the fence, before other programs.
	priority = -450
)

// table is the table of one address.
type table struct {
	*netdev.Table
	vip  netip.Addr
	on   Link
	have map[string]map[string]string // elements, with their values, by the name of the set
}

// buildTable builds a table, which must not exist. It notes connections, and relays nothing yet. It
// ends with this process where the kernel can do that (Linux 5.12).
func buildTable(vip netip.Addr, on Link) (*table, error) {
	opened, err := netdev.Open(tableName(vip))
	if err != nil {
		return nil, err
	}
	t := &table{Table: opened, vip: vip, on: on, have: map[string]map[string]string{}}
	if err = t.Create(netdev.FlagOwner); err != nil {
		if err = t.Reconnect(); err == nil {
			err = t.Create(0)
		}
	}
	if err == nil {
		err = t.build()
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *table) build() error {
	for i, set := range []*nftables.Set{t.flows(), t.moved(), t.hosts(), t.last()} {
		set.ID = uint32(i + 1)
		if err := t.Conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("build nftables table %s: %w", t.Name(), err)
		}
	}
	t.AddChain(netdev.Chain{
		Name: chainIn, Hook: nftables.ChainHookIngress, Device: t.on.Name, Priority: priority,
		Rules: t.rules(),
	})
	return t.Flush("build")
}

func (t *table) flowType() nftables.SetDatatype {
	return nftables.MustConcatSetType(netdev.KeyType(t.vip), nftables.TypeInetService,
		nftables.TypeInetService)
}

func (t *table) flows() *nftables.Set {
	return &nftables.Set{
		Table: t.Ref(), Name: setFlows, KeyType: t.flowType(), Concatenation: true, Dynamic: true,
		HasTimeout: true, Timeout: flowLifetime, Size: maxFlows, KeyByteOrder: binaryutil.BigEndian,
	}
}

func (t *table) moved() *nftables.Set {
	return &nftables.Set{
		Table: t.Ref(), Name: mapMoved, KeyType: t.flowType(), Concatenation: true, IsMap: true,
		DataType: nftables.TypeEtherAddr, KeyByteOrder: binaryutil.BigEndian,
	}
}

func (t *table) hosts() *nftables.Set {
	return &nftables.Set{Table: t.Ref(), Name: setHosts, KeyType: nftables.TypeEtherAddr}
}

func (t *table) last() *nftables.Set {
	return &nftables.Set{
		Table: t.Ref(), Name: mapLast, KeyType: netdev.KeyType(t.vip), IsMap: true,
		DataType: nftables.TypeEtherAddr,
	}
}

// addOwn adds connections of this host.
func (t *table) addOwn(own []Flow) error {
	var elements []nftables.SetElement
	for _, f := range distinct(own) {
		if f.VIP == t.vip && len(elements) < maxFlows {
			elements = append(elements, nftables.SetElement{Key: f.key()})
		}
	}
	for part := range slices.Chunk(elements, flowsAtOnce) {
		if err := t.addAll(t.flows(), part); err != nil {
			return err
		}
		if err := t.Flush("add connections to"); err != nil {
			return err
		}
	}
	return nil
}

// setHosts changes the other hosts and their connections, in one transaction. The first of two that
// name the same connection has it.
func (t *table) setHosts(hosts []Host) error {
	flows, addresses := map[string]string{}, map[string]string{}
	for _, h := range hosts {
		addresses[string(h.MAC)] = ""
		for _, f := range h.Flows {
			key := string(f.key())
			if _, known := flows[key]; f.VIP == t.vip && !known {
				flows[key] = string(h.MAC)
			}
		}
	}
	last := map[string]string{string(t.vip.AsSlice()): string(hosts[0].MAC)}
	err := errors.Join(t.change(t.moved(), flows), t.change(t.hosts(), addresses),
		t.change(t.last(), last))
	if err != nil {
		return err
	}
	return t.Flush("set the hosts of")
}

// change adds what differs between the elements of a set and those wanted to the next transaction.
// A packet that looks an unchanged one up finds it all the time.
func (t *table) change(set *nftables.Set, want map[string]string) error {
	have := t.have[set.Name]
	t.have[set.Name] = want
	element := func(key, value string) nftables.SetElement {
		e := nftables.SetElement{Key: []byte(key)}
		if set.IsMap {
			e.Val = []byte(value)
		}
		return e
	}
	var added, removed []nftables.SetElement
	for key, value := range have {
		if now, left := want[key]; !left || now != value {
			removed = append(removed, element(key, value))
		}
	}
	for key, value := range want {
		if before, there := have[key]; !there || before != value {
			added = append(added, element(key, value))
		}
	}
	for part := range slices.Chunk(removed, flowsPerRequest) {
		if err := t.Conn.SetDeleteElements(set, part); err != nil {
			return fmt.Errorf("delete elements of set %s of nftables table %s: %w", set.Name, t.Name(), err)
		}
	}
	return t.addAll(set, added)
}

// addAll adds elements to the next transaction.
func (t *table) addAll(set *nftables.Set, elements []nftables.SetElement) error {
	for part := range slices.Chunk(elements, flowsPerRequest) {
		if err := t.Conn.SetAddElements(set, part); err != nil {
			return fmt.Errorf("add elements to set %s of nftables table %s: %w", set.Name, t.Name(), err)
		}
	}
	return nil
}

// key is a flow as the key of an element: the other end's address and port, and the port here, each
// filled up to four bytes.
func (f Flow) key() []byte {
	k := f.Remote.Addr().Unmap().AsSlice()
	k = append(binary.BigEndian.AppendUint16(k, f.Remote.Port()), 0, 0)
	return append(binary.BigEndian.AppendUint16(k, f.Port), 0, 0)
}

// Registers: of 16 bytes, but for regFlow, which is the first of up to six with four bytes.
const (
	regKey  = unix.NFT_REG_1
	regMAC  = unix.NFT_REG_2
	regFlow = unix.NFT_REG32_08
)

// rules relay TCP packets for the address that are of no connection of this host.
func (t *table) rules() [][]expr.Any {
	size := uint32(t.vip.BitLen() / 8)
	source, destination := uint32(12), uint32(16)
	if t.vip.Is6() {
		source, destination = 8, 24
	}
	match := append(forThisHost(), netdev.Transport(t.vip.Is6(), unix.IPPROTO_TCP)...)
	match = append(match, netdev.LoadNetwork(regKey, destination, size),
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: t.vip.AsSlice()})
	ports := uint32(regFlow) + size/4
	flow := slices.Concat(match, []expr.Any{
		netdev.LoadNetwork(regFlow, source, size),
		netdev.LoadTransport(ports, 0, 2), netdev.LoadTransport(ports+1, 2, 2),
	})
	note := &expr.Dynset{
		SrcRegKey: regFlow, SetName: setFlows, Operation: unix.NFT_DYNSET_OP_UPDATE,
		Timeout: flowLifetime,
	}
	return [][]expr.Any{
		slices.Concat(flow, isSYN(), []expr.Any{note, netdev.Accept()}),
		slices.Concat(match, []expr.Any{
			netdev.LoadLink(regMAC, 6, 6), &expr.Lookup{SourceRegister: regMAC, SetName: setHosts},
			netdev.Accept(),
		}),
		slices.Concat(flow, []expr.Any{
			&expr.Lookup{SourceRegister: regFlow, SetName: setFlows}, note, netdev.Accept(),
		}),
		slices.Concat(flow, []expr.Any{lookup(regFlow, mapMoved)}, t.forward()),
		// A fragment without ports does not match flow: it stays here.
		slices.Concat(flow, []expr.Any{lookup(regKey, mapLast)}, t.forward()),
	}
}

// forThisHost matches frames that were sent to this host: a link in promiscuous mode has others.
func forThisHost() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{unix.PACKET_HOST}},
	}
}

// lookup loads the hardware address of a map's element.
func lookup(key uint32, name string) expr.Any {
	return &expr.Lookup{
		SourceRegister: key, SetName: name, DestRegister: regMAC, IsDestRegSet: true,
	}
}

// isSYN matches the first packet of a connection: of FIN, SYN, RST and ACK only SYN is set (RFC
// 9293 3.1).
func isSYN() []expr.Any {
	return []expr.Any{
		netdev.LoadTransport(regKey, 13, 1),
		&expr.Bitwise{
			SourceRegister: regKey, DestRegister: regKey, Len: 1, Mask: []byte{0x17}, Xor: []byte{0},
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: []byte{0x02}},
	}
}

// forward sends a packet back to the link, to the hardware address in regMAC. The library has no
// fwd: a copy is sent, and the packet dropped.
func (t *table) forward() []expr.Any {
	device := binaryutil.NativeEndian.PutUint32(uint32(t.on.Index))
	return []expr.Any{
		netdev.StoreLink(regMAC, 0, 6),
		&expr.Immediate{Register: regKey, Data: t.on.MAC}, netdev.StoreLink(regKey, 6, 6),
		&expr.Immediate{Register: regKey, Data: device}, &expr.Dup{RegDev: regKey, IsRegDevSet: true},
		netdev.Drop(),
	}
}
