package ipam_test

import (
	"fmt"

	"github.com/kvip/kvip/pkg/ipam"
)

// Two Services share an address, and a third one requests a pool that does not exist.
func ExamplePlan() {
	addresses, err := ipam.ParseRange("192.0.2.10-192.0.2.20")
	if err != nil {
		fmt.Println(err)
		return
	}
	pools := []ipam.Pool{{Name: "lan", Ranges: []ipam.Range{addresses}}}
	web := ipam.Request{
		Service: "default/web", Namespace: "default", Families: []ipam.Family{ipam.IPv4},
		ShareKey: "edge", Ports: []ipam.Port{{Protocol: "TCP", Number: 80}},
	}
	mail, lost := web, web
	mail.Service, mail.Ports = "default/mail", []ipam.Port{{Protocol: "TCP", Number: 25}}
	lost.Service, lost.Pool = "default/lost", "wan"

	result := ipam.Plan(nil, pools, ipam.Reserved{}, []ipam.Request{web, mail, lost})
	fmt.Println("web ", result.Assigned["default/web"])
	fmt.Println("mail", result.Assigned["default/mail"])
	fmt.Println("lost", result.Refused["default/lost"].Reason)

	again := ipam.Plan(result.Ledger, pools, ipam.Reserved{}, []ipam.Request{lost, mail, web})
	fmt.Println("unchanged:", again.Ledger.Equal(result.Ledger))
	// Output:
	// web  [192.0.2.10]
	// mail [192.0.2.10]
	// lost UnknownPool
	// unchanged: true
}
