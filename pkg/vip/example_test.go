package vip_test

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// The kernel removes an address by the deadline, even if the process is frozen meanwhile.
func ExampleOwner_Update() {
	now := time.Hour
	clock := func() time.Duration { return now }
	kernel, addr := vip.NewFake(clock), netip.MustParseAddr("192.0.2.10")
	owner, err := vip.New(vip.Config{VIPs: []netip.Addr{addr}, Kernel: kernel, Clock: clock})
	if err != nil {
		fmt.Println(err)
		return
	}
	eth0 := link.Link{Index: 2, Name: "eth0"}
	deadline := now + 10*time.Second
	fmt.Println("update:", owner.Update(eth0, deadline), "present:", kernel.Has(addr))
	now = deadline // frozen until then
	fmt.Println("at the deadline, present:", kernel.Has(addr))
	err = owner.Update(eth0, deadline)
	fmt.Println("late update refused:", errors.Is(err, vip.ErrDeadline), "present:", kernel.Has(addr))
	// Output:
	// update: <nil> present: true
	// at the deadline, present: false
	// late update refused: true present: false
}

// The addresses of Services move between links, and one failure does not stop the others.
func ExampleServiceOwner_Sync() {
	clock := func() time.Duration { return time.Hour }
	kernel := vip.NewFake(clock)
	owner, err := vip.NewServiceOwner(vip.ServiceOwnerConfig{Kernel: kernel, Clock: clock})
	if err != nil {
		fmt.Println(err)
		return
	}
	eth0, eth1 := link.Link{Index: 2, Name: "eth0"}, link.Link{Index: 3, Name: "eth1"}
	on := func(l link.Link, text string) assignment.Assignment {
		return assignment.Assignment{
			Addr: netip.MustParseAddr(text), Link: l, State: assignment.Announced,
		}
	}
	kernel.FailAddress(netip.MustParseAddr("192.0.2.22"), errors.New("no memory"))
	for _, want := range [][]assignment.Assignment{
		{on(eth0, "192.0.2.21"), on(eth0, "192.0.2.22")},
		{on(eth1, "192.0.2.21")},
	} {
		for _, e := range vip.AddressErrors(owner.Sync(want)) {
			fmt.Println(e)
		}
		present, err := owner.Present()
		for _, m := range present {
			fmt.Println(m.Addr, "is on", m.LinkName)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// address 192.0.2.22 on eth0: no memory
	// 192.0.2.21 is on eth0
	// 192.0.2.21 is on eth1
}

// A lifetime ends early enough for the kernel's lag, and is never shorter than a second.
func ExampleValidLifetime() {
	const now = time.Hour
	for _, left := range []time.Duration{5 * time.Second, 2500 * time.Millisecond, 2 * time.Second} {
		fmt.Println(vip.ValidLifetime(now+left, now))
	}
	// Output:
	// 3s
	// 1s
	// 0s
}
