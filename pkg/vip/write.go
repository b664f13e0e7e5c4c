package vip

import (
	"errors"
	"fmt"
	"time"
)

// This file has the writes that the owners of addresses share.

// replace writes a's VIP to a's link, and removes it from all others. The kernel removes it
// after valid, whole seconds of at least 1. Scope, label and prefix length survive a write, so
// an address with other ones is deleted first. ErrForeign if the VIP is on this host with the
// prefix length of a network.
func replace(kernel Kernel, a Address, valid time.Duration) error {
	if valid < time.Second {
		return fmt.Errorf("write: lifetime %v: want at least 1s", valid)
	}
	host, err := kernel.Addresses()
	if err != nil {
		return err
	}
	index := newHostIndex(host)
	for _, i := range index.at[a.Addr] {
		if h := host[i]; !h.Prefix.IsSingleIP() {
			return fmt.Errorf("%s is on %s: %w (remove it, or choose another --vip)",
				h.Prefix, h.Link, ErrForeign)
		}
	}
	c := Change{Address: a, Valid: valid, Proto: ControlPlaneProto, Scope: index.scope(a)}
	c.Label = label(a, kernel.KeepsMarks(host))
	before, after := index.conflicting(a, c.Scope, nil)
	_, present := index.onLink(a)
	c.New = !present || len(before) > 0
	if err := deleteAll(kernel, before); err != nil {
		return err
	}
	if err := errors.Join(kernel.Apply([]Change{c})...); err != nil {
		return err
	}
	return deleteAll(kernel, after)
}

func deleteAll(kernel Kernel, deletions []Change) error {
	if len(deletions) == 0 {
		return nil
	}
	errs := kernel.Apply(deletions)
	for i, err := range errs {
		if err != nil {
			errs[i] = &AddressError{deletions[i].Address, err}
		}
	}
	return errors.Join(errs...)
}

// sweep deletes the addresses that list returns until it returns none (E5). It returns what it
// deleted. The error names the addresses that are left, or wraps ErrUnconfirmed alone if they
// cannot be listed.
func sweep(kernel Kernel, list func() ([]Marked, error)) (removed []Marked, err error) {
	var failures []error
	for round := 0; ; round++ {
		left, err := list()
		if err == nil && len(left) == 0 {
			return removed, nil
		}
		if err != nil {
			failures = append(failures, err)
		}
		if round == deleteRounds {
			text := ""
			for _, m := range left {
				text += fmt.Sprintf(", %s is still on %s", m.Addr, m.LinkName)
			}
			failures = append([]error{ErrUnconfirmed}, failures...)
			return removed, fmt.Errorf("delete addresses%s (see ip address): %w",
				text, errors.Join(failures...))
		}
		deletions := make([]Change, len(left))
		for i, m := range left {
			deletions[i] = Change{Address: m.Address}
		}
		if err := deleteAll(kernel, deletions); err != nil {
			failures = append(failures, err)
		}
		removed = addMissing(removed, left)
	}
}
