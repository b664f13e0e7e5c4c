package casestudy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/testutil"
	"github.com/vishvananda/netlink"
)

// address is what the tests below serve.
var address = netip.MustParsePrefix("192.0.2.100/24")

// ethernet is a client, and two nodes that both have the address: which of them gets the packets is
// what the client's neighbour table says.
func ethernet(t *testing.T, handler http.HandlerFunc) (client *netlab.Host, nodes []*netlab.Host) {
	t.Helper()
	testutil.NeedRoot(t)
	lab, err := netlab.New(netlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, name := range []string{"client", "w1", "w2"} {
		own := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 24)
		h, err := lab.AddHost(netlab.HostConfig{Name: name, Addrs: []netip.Prefix{own}})
		if err != nil {
			t.Fatal(err)
		}
		if client == nil {
			client = h
			continue
		}
		nodes = append(nodes, h)
		serve(t, h, handler)
	}
	return client, nodes
}

// serve gives a host the address and an application there.
func serve(t *testing.T, h *netlab.Host, handler http.HandlerFunc) {
	t.Helper()
	if err := h.AddAddr(address); err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(address.Addr(), 80).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("On", h.Name)
		handler(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// echo answers as kind/echo does.
func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"pod":"pod-of-%s","requestId":%q}`, r.Header.Get("On"),
		r.Header.Get("X-Request-Id"))
}

// announce makes a host the one to which the client's packets go, as an announcement does.
func announce(t *testing.T, client, to *netlab.Host) {
	t.Helper()
	err := client.Do(func() error {
		link, err := netlink.LinkByName(netlab.LinkName)
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index,
			IP: net.IP(address.Addr().AsSlice()), HardwareAddr: to.MAC, State: netlink.NUD_REACHABLE})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A client sees the hand-over, with real packets: which pod answered before and after it, and none
// in between that it cannot place.
func TestWatchSeesTheHandover(t *testing.T) {
	client, nodes := ethernet(t, echo)
	announce(t, client, nodes[0])
	path, err := startNeighbourWatch(client, address.Addr(),
		map[string]string{nodes[0].MAC.String(): "w1", nodes[1].MAC.String(): "w2"})
	if err != nil {
		t.Fatal(err)
	}
	c := startClient(newRequester(client, netip.AddrPortFrom(address.Addr(), 80), patience))
	if err := c.decided(t.Context(), time.Now(), 20); err != nil {
		t.Fatal(err)
	}
	announce(t, client, nodes[1])
	err = kindcluster.Eventually(t.Context(), ms, func() error {
		if path.Node() != "w2" {
			return fmt.Errorf("the packets go to %q", path.Node())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.decided(t.Context(), time.Now(), 20); err != nil {
		t.Fatal(err)
	}
	c.Stop()
	if err := path.end(); err != nil {
		t.Fatal(err)
	}
	h, err := handover(path.Intervals(), "w1")
	if err != nil || h.New != "w2" || h.To.Before(h.From) {
		t.Fatalf("%+v, %v", h, err)
	}
	reqs := c.Requests(time.Time{})
	if err := h.tally(reqs).judge(); err != nil {
		t.Errorf("%v: %v", err, firstFailures(reqs, h.To))
	}
	for _, r := range reqs {
		want := "pod-of-w1"
		if !r.Start.Before(h.To) {
			want = "pod-of-w2"
		}
		if over := r.Start.Add(r.Took).Before(h.From) || want == "pod-of-w2"; over && r.Server != want {
			t.Errorf("a request at %+.3f s was answered by %s, want %s", r.Start.Sub(h.To).Seconds(),
				r.Server, want)
		}
	}
}

func TestAskerSaysWhatCameOfARequest(t *testing.T) {
	broken := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	client, nodes := ethernet(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Request-Id") {
		case "reset":
			broken(w, r)
		case "503":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "other":
			r.Header.Set("X-Request-Id", "1")
			echo(w, r)
		case "no json":
			fmt.Fprint(w, "hello")
		case "slow":
			select {
			case <-r.Context().Done():
			case <-time.After(2 * patience):
			}
		default:
			echo(w, r)
		}
	})
	announce(t, client, nodes[0])
	at := netip.AddrPortFrom(address.Addr(), 80)
	for id, want := range map[string]string{
		"7": "200", "reset": netlab.FailedReset, "503": "503", "other": "another's answer",
		"no json": netlab.FailedOther, "slow": netlab.FailedTimeout,
	} {
		timeout := patience
		if id == "slow" {
			timeout = time.Second
		}
		r := newRequester(client, at, timeout).request(t.Context(), id)
		if r.Result != want || r.OK() && r.Server != "pod-of-w1" {
			t.Errorf("%s: %+v, want %s", id, r, want)
		}
	}
	refused := newRequester(client, netip.AddrPortFrom(address.Addr(), 81), time.Second)
	if r := refused.request(t.Context(), "1"); r.Result != netlab.FailedRefused {
		t.Errorf("a closed port: %+v", r)
	}
	nobody := newRequester(client, netip.MustParseAddrPort("198.51.100.1:80"), time.Second)
	if r := nobody.request(t.Context(), "1"); r.Result != netlab.FailedRoute {
		t.Errorf("a network without a route: %+v", r)
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("KVIP_ECHO_ARCHIVE", "")
	if _, err := Settings(kindcluster.Config{}, "/p"); err == nil ||
		!strings.Contains(err.Error(), "KVIP_ECHO_ARCHIVE comes from kind/prepare.sh") {
		t.Errorf("without an image: %v", err)
	}
	t.Setenv("KVIP_ECHO_ARCHIVE", "/echo.tar")
	cfg, err := Settings(kindcluster.Config{KvipArchive: "/kvip.tar", Name: "x"}, "/p")
	if err != nil || !cfg.Plain || cfg.Workers != 3 || cfg.ControlPlanes != 1 || cfg.Name != "x" ||
		cfg.Template != "/p/kind/services.yaml" ||
		strings.Join(cfg.Images, " ") != "/kvip.tar /echo.tar" {
		t.Errorf("%+v, %v", cfg, err)
	}
}
