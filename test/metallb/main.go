// Command nativespeaker announces one IPv4 prefix with the native BGP speaker of MetalLB, without a
// cluster: a reference for benchmarks. The speaker is internal to MetalLB's module, so that this
// module has a path below that. It has neither BFD nor IPv6, which the speaker does not have.
//
//	nativespeaker --as 65010 --prefix 10.78.0.1/32 --hold 9s --peer 10.77.0.201/65000 ...
//
// At SIGTERM it closes its sessions.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"go.universe.tf/metallb/internal/bgp"
	"go.universe.tf/metallb/internal/bgp/native"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := announce(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "nativespeaker:", err)
		stop()
		os.Exit(1)
	}
}

// announce announces the prefix until ctx ends.
func announce(ctx context.Context) error {
	as := flag.Uint("as", 0, "own AS")
	text := flag.String("prefix", "", "IPv4 prefix to announce")
	hold := flag.Duration("hold", 9*time.Second, "hold time")
	var peers []string
	flag.Func("peer", "a router, as ADDRESS/AS", func(s string) error {
		peers = append(peers, s)
		return nil
	})
	flag.Parse()
	_, prefix, err := net.ParseCIDR(*text)
	if err != nil {
		return err
	}
	logger := log.With(log.NewLogfmtLogger(os.Stderr), "ts", log.DefaultTimestampUTC)
	manager := native.NewSessionManager(logger)
	keepalive := *hold / 3
	for _, peer := range peers {
		addr, number, _ := strings.Cut(peer, "/")
		peerAS, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return fmt.Errorf("peer %s: %w", peer, err)
		}
		session, err := manager.NewSession(logger, bgp.SessionParameters{
			PeerAddress: addr, PeerPort: 179, MyASN: uint32(*as), PeerASN: uint32(peerAS),
			HoldTime: hold, KeepAliveTime: &keepalive, SessionName: peer,
		})
		if err != nil {
			return err
		}
		defer func() { _ = session.Close() }() // the process ends
		if err := session.Set(&bgp.Advertisement{Prefix: prefix}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
