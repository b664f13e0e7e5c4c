package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/test/lab/wait"
)

// TestB13ServicesGiveWay: a router has one session with a node, which is that of the control plane.
func TestB13ServicesGiveWay(t *testing.T) {
	shared, err := advertiser.New(advertiser.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.SetPeers(advertiser.Services, []policy.Peer{{PeerConfig: bgp.PeerConfig{
		Name: "r1", LocalAS: 65010, PeerAS: 65000, RouterID: netip.MustParseAddr("192.0.2.99"),
		Address: netip.MustParseAddr("192.0.2.1"),
	}}}, nil); err != nil {
		t.Fatal(err)
	}
	r := &routes{Advertiser: shared, log: slog.New(slog.DiscardHandler)}
	var locked atomic.Bool
	locked.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.giveWay(ctx, locked.Load) }()
	for _, want := range []string{reasonDeferred, ""} {
		wait.Eventually(t, 20*time.Second, "the reason", func() bool {
			return r.Status()[0].Reason == want
		})
		locked.Store(false)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
