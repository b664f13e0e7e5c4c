package services

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestFilter reaches an address on the ports of its Services alone, in both families, and by ICMP
// (S5). The node's other ports are open at its own address.
func TestFilter(t *testing.T) {
	s := newEnv(t)
	s.must(s.Create(s.ctx, "web", servicelab.Families(corev1.IPFamilyPolicyRequireDualStack)))
	for _, addr := range s.addresses("web", 2) {
		n := s.owner(addr)
		s.waitServed(addr, servicelab.Port, n)
		for _, port := range []int{otherPort, 2112, 6443} {
			if name, err := s.Request(addr, port); err == nil {
				t.Errorf("port %d of %s is open: %q answers", port, addr, name)
			}
		}
		own := n.Host.Addr(addr.Is4())
		s.waitServed(own, otherPort, n)
		s.wait("an answer to ICMP from "+addr.String(),
			func() bool { return servicelab.Ping(s.Client, addr) == nil })
	}
}

// TestFilterFollowsPorts opens and closes ports as the Service changes; what is established goes on
// (S5).
func TestFilterFollowsPorts(t *testing.T) {
	s := newSingleEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.waitServed(addr, servicelab.Port, n)
	s.must(s.Change(s.ctx, "web", servicelab.Ports(otherPort)))
	s.waitServed(addr, otherPort, n)
	s.refused(addr, servicelab.Port)
	s.must(s.Change(s.ctx, "web", servicelab.Ports(otherPort, servicelab.Port)))
	s.waitServed(addr, servicelab.Port, n)
	s.waitServed(addr, otherPort, n)
}

// refused waits until a port of the address is closed.
func (s *env) refused(addr netip.Addr, port int) {
	s.t.Helper()
	s.wait("the port to be closed", func() bool {
		_, err := s.Request(addr, port)
		return err != nil
	})
}

// TestForeignHost lets a machine that is no node claim an address, several times: its owner, whose
// view is fresh, defends it, so that everybody believes it again, and reports the MAC that no node
// has (S3).
func TestForeignHost(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.waitServed(addr, servicelab.Port, n)
	foreign := net.HardwareAddr{2, 0, 0, 0, 0xbe, 0xef}
	sampler := s.sample(addr)
	for range 3 {
		s.must(servicelab.Claim(s.Client, addr, foreign))
		s.must(servicelab.Claim(s.Workers[0].Host, addr, foreign))
		s.checkNoReport(addr, n)
		s.waitServed(addr, servicelab.Port, n)
	}
	s.waitLogged(n, "level=WARN", "claims an address", addr.String(), foreign.String(),
		"which is in no kvip node's Lease")
	s.wait("the conflict to be counted", func() bool {
		m, err := s.Metrics(n)
		return err == nil && m.Sum("kvip_service_conflicts_total") > 0
	})
	s.checkStayed(sampler, n, addr)
}

// TestPlannedMove drains a node: the old owner keeps the address until it hears the new one (S3),
// so that every connection meanwhile gets an answer. Connections that are open at that instant may
// be reset, also those that were opened an instant ago (S7): they are counted apart.
func TestPlannedMove(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.waitServed(addr, servicelab.Port, n)
	sampler := s.sample(addr)
	ctx, stop := context.WithCancel(s.ctx)
	failed := make(chan []error, 1)
	go func() { failed <- s.askAll(ctx, addr) }()
	for range 2 {
		s.must(s.Cordon(s.ctx, n.Name, true))
		s.waitMoved(addr, n)
		s.must(s.Cordon(s.ctx, n.Name, false))
		s.wait("the address to be back", func() bool { return s.owner(addr) == n })
	}
	stop()
	resets := 0
	for _, err := range <-failed {
		if errors.Is(err, unix.ECONNRESET) {
			resets++
			continue
		}
		t.Errorf("a connection during a planned move: %v", err)
	}
	t.Logf("%d connections were reset", resets)
	s.checkAlwaysOwned(sampler)
	h := sampler.Window(time.Time{}, time.Time{})
	t.Logf("%d of %d samples, one each %v, had two owners", h.TwoHolders, h.Samples,
		5*time.Millisecond)
}

// askAll connects again and again until ctx ends, with time for TCP to send again what was lost,
// and returns what failed.
func (s *env) askAll(ctx context.Context, addr netip.Addr) (failed []error) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		conn, err := s.Client.Dial(limited, "tcp", netip.AddrPortFrom(addr, servicelab.Port).String())
		cancel()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		_ = conn.Close()
	}
	return failed
}

// TestChanges changes what a Service asks for while it runs, and measures how long each takes to be
// seen from outside; on an idle machine that is less than a second.
func TestChanges(t *testing.T) {
	s := newEnv(t)
	first := s.create("web")
	s.waitServed(first, servicelab.Port, s.owner(first))
	measure := func(what string, change func(), seen func() bool) {
		t.Helper()
		began := time.Now()
		change()
		s.wait(what, seen)
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
	}
	edit := func(edits ...servicelab.Edit) func() {
		return func() { t.Helper(); s.must(s.Change(s.ctx, "web", edits...)) }
	}
	open := func(addr netip.Addr, port int) func() bool {
		return func() bool { _, err := s.Request(addr, port); return err == nil }
	}
	second := ip("10.77.0.150")
	measure("another address", edit(servicelab.Annotate(svc.AnnotationAddresses, second.String())),
		open(second, servicelab.Port))
	s.waitNoOwner(first)
	measure("another port", edit(servicelab.Ports(otherPort)), open(second, otherPort))
	measure("the other policy", edit(servicelab.Local),
		func() bool { return len(s.Holders(second)) == 0 })
	measure("an endpoint",
		func() {
			s.must(s.Endpoints(s.ctx, "web", map[string]servicelab.State{"cp2": servicelab.Ready}))
		}, open(second, otherPort))
	measure("another type", edit(func(o *corev1.Service) {
		o.Spec.Type, o.Spec.ExternalTrafficPolicy,
			o.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, "", nil
	}), func() bool { return len(s.Holders(second)) == 0 })
	measure("kvip's class",
		edit(servicelab.Class("kvip.dev/kvip"),
			func(o *corev1.Service) { o.Spec.Type = corev1.ServiceTypeLoadBalancer }),
		open(second, otherPort))
	measure("deletion", func() { s.must(s.Delete(s.ctx, "web")) },
		func() bool { return len(s.Holders(second)) == 0 })
}

// TestControlPlane has agents serve the control plane's address and Services at once. A Service
// that asks for that address with a key shares it: it is where the election says, the Service's
// port is reached there, and so is everything that its host serves at that address without
// Services, as 6443 (S5).
func TestControlPlane(t *testing.T) {
	s := prepareEnv(t)
	const vip = "10.77.0.100"
	s.must(s.Addresses(s.ctx, "main", pool4, vip))
	s.must(s.StartAgents(s.Nodes, "--vip="+vip))
	s.waitSettled(s.Nodes...)
	s.must(s.Create(s.ctx, "refused", servicelab.Annotate(svc.AnnotationAddresses, vip)))
	s.waitCondition("refused", "AddressTaken", vip, "control plane")
	s.must(s.Create(s.ctx, "clash", servicelab.Annotate(svc.AnnotationAddresses, vip),
		servicelab.Annotate(svc.AnnotationShare, "x"), servicelab.Ports(6443)))
	s.waitCondition("clash", "PortConflict", "6443", "control plane")
	s.must(s.Create(s.ctx, "web", servicelab.Annotate(svc.AnnotationAddresses, vip),
		servicelab.Annotate(svc.AnnotationShare, "x")))
	s.expect("web", vip)
	other := s.create("other")
	s.waitServed(other, servicelab.Port, s.owner(other))
	both := func() string {
		t.Helper()
		s.wait("both at "+vip, func() bool {
			name, err := s.Request(ip(vip), servicelab.Port)
			holders := s.Holders(ip(vip))
			return err == nil && len(holders) == 1 && holders[0] == name && s.listens(ip(vip), 6443)
		})
		s.wait("another port of the host at "+vip, func() bool { return s.listens(ip(vip), otherPort) })
		return s.Holders(ip(vip))[0]
	}
	holder := s.Node(both())
	s.must(holder.Agent().Terminate(patience))
	s.wait("the control plane to move",
		func() bool { h := s.Holders(ip(vip)); return len(h) == 1 && h[0] != holder.Name })
	if now := both(); now == holder.Name {
		t.Errorf("it is still on %s", now)
	}
}

// listens reports whether a TCP connection from the client is taken.
func (s *env) listens(addr netip.Addr, port uint16) bool {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	conn, err := s.Client.Dial(ctx, "tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
