package bfd_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
)

func ExampleServer() {
	server, err := bfd.New(bfd.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := server.Add(bfd.SessionConfig{
		Peer:     netip.MustParseAddr("192.0.2.1"),
		Timers:   bfd.Timers{TransmitInterval: 300 * time.Millisecond, Multiplier: 3},
		OnChange: func(s bfd.Status) { fmt.Println(s.Peer, s.State, s.Diagnostic) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.Status().State)
	// Output: Down
}
