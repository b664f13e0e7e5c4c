package nftfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/assignment"
)

// Ports of the node in these tests. The Service is allowed port 80 of the VIPs; the backends
// stand for the pods that kube-proxy sends connections to.
const (
	servicePort, serviceBackend = 80, 8080
	nodePort, otherBackend      = 30080, 8081
)

// S5: beside kube-proxy in both modes, in either order of start, another Service's NodePort does
// not answer at a VIP, where it would without the table, and it answers at the node's address.
func TestS5RefusesNodePortsOfOthers(t *testing.T) {
	w := both(assignment.Port{Protocol: "TCP", Port: servicePort})
	for mode, beforeNAT := range map[string]bool{"iptables": false, "nftables": true} {
		for _, kvipFirst := range []bool{false, true} {
			l := newLab(t)
			l.serve("service", serviceBackend)
			l.serve("other", otherBackend)
			f := newFilter(t, time.Minute)
			if kvipFirst {
				apply(t, f, w)
				kubeProxy(t, beforeNAT)
			} else {
				kubeProxy(t, beforeNAT)
				for _, vip := range bothVIPs {
					l.expect(mode+" without kvip's table", expected{"tcp", vip, nodePort, "other"})
				}
				apply(t, f, w)
			}
			for vip, own := range map[netip.Addr]netip.Addr{vip4: node4, vip6: node6} {
				l.expect(mode,
					expected{"tcp", vip, servicePort, "service"},
					expected{"tcp", vip, nodePort, "refused"},
					expected{"tcp", vip, otherBackend, "refused"},
					expected{"tcp", own, nodePort, "other"})
			}
			if err := f.Remove(); err != nil {
				t.Fatal(err)
			}
			l.expect(mode+" after Remove", expected{"tcp", vip4, nodePort, "other"},
				expected{"tcp", vip6, servicePort, "service"})
		}
	}
}

// kubeProxy does on the node what both modes of kube-proxy do there, each in tables of its own:
// it redirects the VIPs' port, and the NodePort at every address of the host. In its nftables
// mode a chain that lets the packet pass comes before that, as its firewall checks do.
func kubeProxy(t *testing.T, beforeNAT bool) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	for family, a := range map[nftables.TableFamily]struct {
		family
		vip, own netip.Addr
	}{
		nftables.TableFamilyIPv4: {family4, vip4, node4},
		nftables.TableFamilyIPv6: {family6, vip6, node6},
	} {
		table := conn.AddTable(&nftables.Table{Name: "kube-proxy", Family: family})
		base := func(name string, kind nftables.ChainType,
			priority nftables.ChainPriority) *nftables.Chain {
			return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind,
				Hooknum: nftables.ChainHookPrerouting, Priority: &priority})
		}
		if beforeNAT {
			check := base("filter-prerouting-pre-dnat", nftables.ChainTypeFilter, -110)
			conn.AddRule(&nftables.Rule{Table: table, Chain: check, Exprs: []expr.Any{accept()}})
		}
		nat := base("nat-prerouting", nftables.ChainTypeNAT, -100)
		toVIP := []expr.Any{a.destination(),
			&expr.Cmp{Op: expr.CmpOpEq, Register: key, Data: a.vip.AsSlice()}}
		local := []expr.Any{
			&expr.Fib{Register: scratch, ResultADDRTYPE: true, FlagDADDR: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: scratch,
				Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
		}
		for _, exprs := range [][]expr.Any{
			redirect(toVIP, servicePort, a.proto, a.own, serviceBackend),
			redirect(local, nodePort, a.proto, a.own, otherBackend),
		} {
			conn.AddRule(&nftables.Rule{Table: table, Chain: nat, Exprs: exprs})
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// redirect sends TCP to a port, where the condition holds, to a backend.
func redirect(condition []expr.Any, port uint16, proto byte, to netip.Addr,
	backend uint16) []expr.Any {
	return rule(&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(proto), RegAddrMin: unix.NFT_REG_1,
		RegProtoMin: unix.NFT_REG_2},
		condition, isProtocol(unix.IPPROTO_TCP), []expr.Any{
			&expr.Payload{DestRegister: scratch, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: scratch, Data: binary.BigEndian.AppendUint16(nil, port)},
			&expr.Immediate{Register: unix.NFT_REG_1, Data: to.AsSlice()},
			&expr.Immediate{Register: unix.NFT_REG_2, Data: binary.BigEndian.AppendUint16(nil, backend)},
		})
}
