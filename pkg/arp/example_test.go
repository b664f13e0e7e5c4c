package arp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
)

// nullConn is a socket without a network behind it. Without Config.Listen an Announcer opens packet
// sockets, which needs CAP_NET_RAW.
type nullConn chan struct{}

func (c nullConn) ReadFrom([]byte) (int, net.Addr, error)    { <-c; return 0, nil, net.ErrClosed }
func (c nullConn) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (c nullConn) SetWriteDeadline(time.Time) error          { return nil }
func (c nullConn) Close() error                              { close(c); return nil }

// An Announcer announces the addresses that are Set, here two of a Service, as soon as it runs.
func Example() {
	sent := make(chan string, 100)
	announcer, err := arp.New(arp.Config{
		Pacing: arp.ServicePacing(),
		Sent:   func(addr netip.Addr, kind string) { sent <- fmt.Sprint(addr, " ", kind) },
		Listen: func(link.Link, uint16, []bpf.RawInstruction) (arp.Conn, error) {
			return make(nullConn),
				nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	eth0 := link.Link{Index: 2, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	announcer.Set([]assignment.Assignment{
		{Addr: netip.MustParseAddr("192.0.2.10"), Link: eth0, State: assignment.Announced},
		{Addr: netip.MustParseAddr("192.0.2.11"), Link: eth0, State: assignment.Silent},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- announcer.Run(ctx) }()
	fmt.Println(<-sent)
	fmt.Println(<-sent)
	cancel()
	fmt.Println(<-done)
	// Output:
	// 192.0.2.10 arp-request
	// 192.0.2.10 arp-reply
	// <nil>
}
