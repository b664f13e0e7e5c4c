// Package interop tests pkg/bgp and pkg/bfd against routers that others wrote, in network
// namespaces: FRR 8.4, BIRD 2.0, GoBGP 3.10, OpenBGPD 7.7 and ExaBGP 4.2 of Debian 12. The speaker
// under test is this test binary, started again in a host of the lab.
//
//	                                     FRR  BIRD  GoBGP  OpenBGPD  ExaBGP
//	TestPeers: IPv4, IPv6, both families yes  yes   yes    yes       yes
//	  attributes, Worse, iBGP, updates   yes  yes   yes    yes       yes
//	  ROUTE-REFRESH                      yes  yes   no     yes       yes
//	TestRFC8950                          yes  yes   yes    refuses   yes
//	  in the kernel of the router        yes  yes   no     no        no
//	TestPassword, TestTTLSecurity        yes  yes   yes    yes       yes
//	TestMultihop                         yes  yes   yes    yes       yes
//	TestGracefulRestart                  yes  yes   yes    yes       no
//	TestMaximumPrefixes                  yes  yes   yes    yes       no
//	Test5000Routes, TestRouterLeaks      yes  yes   no     no        no
//	TestBFD                              yes  yes   no     no        no
//	TestUnnumbered                       yes  no    no     no        no
//	TestGateway                          yes  yes   no     no        no
//
// A kind with "no" does not have the feature, or has it in a way that shows nothing further. See
// test/lab/routerlab for what each kind has.
package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// agentEnv makes the test binary an agent with these settings.
const agentEnv = "KVIP_TEST_INTEROP_AGENT"

// concurrency is how many tests run at a time: they mostly wait.
const concurrency = "10"

func TestMain(m *testing.M) {
	if settings := os.Getenv(agentEnv); settings != "" {
		if err := runAgent(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", concurrency); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
