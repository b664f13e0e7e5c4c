package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/policy"
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
	for _, step := range []struct {
		locked bool
		err    error
		want   string
	}{
		{true, nil, reasonDeferred}, {false, errors.New("not known"), reasonDeferred}, {false, nil, ""},
		{true, errors.New("not known"), ""},
	} {
		r.giveWay(func() (bool, error) { return step.locked, step.err })
		if got := r.Status()[0].Reason; got != step.want {
			t.Errorf("%+v: %q", step, got)
		}
	}
}
