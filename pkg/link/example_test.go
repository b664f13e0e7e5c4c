package link_test

import (
	"fmt"

	"github.com/kvip/kvip/pkg/link"
)

// A longer prefix is better than a shorter one, and any prefix of an address is better than the
// default route.
func ExampleChoice_Better() {
	lan := link.Choice{Link: link.Link{Name: "eth0"}, Basis: link.ByAddress, Bits: 24}
	site := link.Choice{Link: link.Link{Name: "eth1"}, Basis: link.ByAddress, Bits: 8}
	uplink := link.Choice{Link: link.Link{Name: "eth2"}, Basis: link.ByDefaultRoute}
	fmt.Println(lan.Better(site), site.Better(uplink), uplink.Better(lan))
	fmt.Printf("%s is chosen by %s\n", lan.Name, lan.Basis)
	// Output:
	// true true false
	// eth0 is chosen by the prefix of an own address
}

func ExampleEventKind_String() {
	for _, kind := range []link.EventKind{
		link.Resync, link.LinkChanged, link.AddrAdded, link.AddrRemoved,
	} {
		fmt.Println(kind)
	}
	// Output:
	// resync
	// link changed
	// address added
	// address removed
}
