package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// readyWithin bounds the start of the lab.
const readyWithin = 3 * time.Minute

// service is what is wanted of one Service.
type service struct {
	there     bool
	balanced  bool            // of type LoadBalancer
	local     bool            // policy Local
	endpoints map[string]bool // nodes with a ready endpoint
	epoch     int             // grows when it may get another address
}

// environment is a lab and what everything in it is to be like.
type environment struct {
	lab      *servicelab.Lab
	asker    *servicelab.ARPClient
	proxies  []*servicelab.Proxy // before the API of each node
	random   *rand.Rand
	services []service
	counts   map[string]int // of what was done

	addresses map[int]owned // when it was last quiet
}

// owned is the address of a Service in an epoch.
type owned struct {
	addr  netip.Addr
	epoch int
}

func name(i int) string { return fmt.Sprintf("soak-%03d", i) }

// newEnvironment starts a lab in which agents reach the API through proxies. ctx bounds its
// questions to the wire.
func newEnvironment(ctx context.Context, o options) (*environment, error) {
	w := &environment{random: rand.New(rand.NewPCG(o.seed, 0)), services: make([]service, o.services),
		counts: map[string]int{}, addresses: map[int]owned{}}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *environment) start(ctx context.Context) (err error) {
	w.lab, err = servicelab.Start(ctx,
		servicelab.Config{Cluster: cluster.Config{Progress: progress{},
			API: cluster.APIOptions{NodeAddressOnly: true}}})
	if err != nil {
		return err
	}
	sender, err := w.lab.WidenSubnet()
	if err != nil {
		return err
	}
	if w.asker, err = servicelab.StartARPClient(ctx, w.lab.Client, sender); err != nil {
		return err
	}
	for _, n := range w.lab.Nodes {
		p, err := servicelab.StartProxy(n.Host,
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), cluster.Port),
			netip.AddrPortFrom(n.Host.Addr(true), cluster.Port))
		if err != nil {
			return err
		}
		w.proxies = append(w.proxies, p)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := errors.Join(w.lab.RegisterNodes(ctx, w.lab.Nodes...),
		w.lab.Addresses(ctx, "soak", servicelab.WidePool)); err != nil {
		return err
	}
	return w.lab.StartAgents(w.lab.Nodes)
}

func (w *environment) close() error {
	var errs []error
	for _, p := range w.proxies {
		errs = append(errs, p.Close())
	}
	if w.lab != nil {
		errs = append(errs, w.lab.Close())
	}
	return errors.Join(errs...)
}

// progress passes the lab's lines on to people.
type progress struct{}

// Write implements io.Writer.
func (progress) Write(b []byte) (int, error) {
	say("%s", b[:max(len(b)-1, 0)])
	return len(b), nil
}
