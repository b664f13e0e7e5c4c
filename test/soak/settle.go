package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

const (
	// calmWithin is how long everything may take to be as it is to be, once nothing changes.
	calmWithin = 90 * time.Second
	lookEvery  = 250 * time.Millisecond
)

// watch looks again and again until ctx ends, and returns the first address that was given out
// twice.
func (w *environment) watch(ctx context.Context) (samples int, err error) {
	for ctx.Err() == nil {
		s, err := w.observe(context.WithoutCancel(ctx))
		if err != nil {
			return samples, err
		}
		if err := s.checkDuplicates(); err != nil {
			return samples, err
		}
		samples++
		_ = wait.Pause(ctx, lookEvery)
	}
	return samples, nil
}

// settle waits until everything is as it is to be, and that no Service has lost its address since
// it was last quiet, and that each address answers on the wire.
func (w *environment) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, calmWithin)
	defer cancel()
	var addresses map[int]netip.Addr
	var problem error
	for {
		s, err := w.observe(ctx)
		if err == nil {
			if err := s.checkDuplicates(); err != nil {
				return err
			}
			addresses, problem = w.consistent(s)
		}
		if err == nil && problem == nil {
			break
		}
		if wait.Pause(ctx, lookEvery) != nil {
			return fmt.Errorf("after %s without a change: %w", calmWithin, firstOf(problem, err))
		}
	}
	if err := w.checkKept(addresses); err != nil {
		return err
	}
	return w.checkAnswers(ctx, addresses)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkKept compares with the addresses when it was last quiet, and remembers these.
func (w *environment) checkKept(addresses map[int]netip.Addr) error {
	now := map[int]owned{}
	for i, addr := range addresses {
		before, known := w.addresses[i]
		if known && before.epoch == w.services[i].epoch && before.addr != addr {
			return fmt.Errorf("service %s lost its address: it had %s and has %s", name(i), before.addr,
				addr)
		}
		now[i] = owned{addr, w.services[i].epoch}
	}
	w.addresses = now
	return nil
}

// checkAnswers asks the wire for every address that a node is to have.
func (w *environment) checkAnswers(ctx context.Context, addresses map[int]netip.Addr) error {
	var asked []netip.Addr
	for i, addr := range addresses {
		if s := w.services[i]; !s.local || len(s.endpoints) > 0 {
			asked = append(asked, addr)
		}
	}
	w.asker.QueryAgain(asked, "")
	answers, err := w.asker.Wait(ctx, len(asked))
	if err != nil {
		return err
	}
	macs := map[string]bool{}
	for _, n := range w.lab.Nodes {
		macs[n.Host.MAC.String()] = true
	}
	for _, addr := range slices.SortedFunc(maps.Keys(answers), netip.Addr.Compare) {
		if !macs[answers[addr].From] {
			return fmt.Errorf("%s answers for %s and is no node", answers[addr].From, addr)
		}
	}
	return nil
}
