package kindservices

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/kind/casestudy"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// answer is what a pod of the application says: who it is, and whom it sees as the client.
type answer struct{ Pod, Node, Client string }

// client is the address of the client, without its port.
func (a answer) client() netip.Addr {
	addr, _ := netip.ParseAddrPort(a.Client)
	return addr.Addr().Unmap()
}

// ask sends one request to the application from a host, on a fresh connection.
func ask(ctx context.Context, h *netlab.Host, addr netip.Addr) (a answer, err error) {
	client := http.Client{Timeout: dialTimeout,
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+"/", nil)
	if err != nil {
		return a, err
	}
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	return a, json.NewDecoder(response.Body).Decode(&a)
}

// Each pod of the application sees each other one, on another node, with its own address.
func TestPodSeesPod(t *testing.T) {
	ctx, s := study(t)
	control := s.Cluster.Nodes[0]
	out, err := control.Kubectl(ctx, "get", "pods", "-l", "app=echo", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}`)
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{} // of pods, by node
	for line := range strings.Lines(out) {
		if node, addr, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			addrs[node] = addr
		}
	}
	if len(addrs) < 2 {
		t.Fatalf("the pods are on %d nodes, want 2 at least:\n%s", len(addrs), out)
	}
	// The application's image has no shell: the node's curl asks from the pod's network.
	const script = `for ns in /var/run/netns/*; do
		if nsenter --net=$ns ip -oneline address | grep -q "inet $0/"; then exec nsenter --net=$ns curl -sSf -m 5 http://$1:8080/; fi
	done; exit 1`
	for from, addr := range addrs {
		for to, other := range addrs {
			if from == to {
				continue
			}
			var got answer
			out, err := s.Cluster.Node(from).Exec(ctx, "bash", "-c", script, addr, other)
			if err == nil {
				err = json.Unmarshal([]byte(out), &got)
			}
			if err != nil || got.client().String() != addr {
				t.Errorf("the pod on %s sees %q as the pod %s on %s: %v", to, got.Client, addr, from, err)
			}
		}
	}
}

// A client behind a router is answered, whatever the Service's policy. With externalTrafficPolicy
// Local the pod sees the client's own address. The router, which asks no more for a neighbour that
// it knows, follows when the node is cordoned that announces the address (S3, S7).
func TestRoutedClient(t *testing.T) {
	ctx, s := study(t)
	r, err := s.Cluster.AddRouter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Remove(); err != nil {
			t.Error(err)
		}
	})
	routed := routedClient{Study: s, Router: r, t: t, nodes: map[string]*kindcluster.Node{}}
	for _, n := range s.Cluster.Nodes {
		mac, err := n.MAC(ctx)
		if err != nil {
			t.Fatal(err)
		}
		routed.nodes[mac.String()] = n
	}
	routed.answered(ctx, func(answer, *kindcluster.Node) bool { return true })

	routed.kubectl(ctx, "patch", "service", "echo", "--patch",
		`{"spec": {"externalTrafficPolicy": "Local"}}`)
	t.Cleanup(func() {
		routed.kubectl(context.WithoutCancel(ctx), "patch", "service", "echo", "--patch",
			`{"spec": {"externalTrafficPolicy": "Cluster"}}`)
	})
	own := func(a answer, n *kindcluster.Node) bool {
		return a.Node == n.Name && a.client() == r.Client.Addr(true)
	}
	old := routed.answered(ctx, own)

	routed.kubectl(ctx, "cordon", old.Name)
	t.Cleanup(func() { routed.kubectl(context.WithoutCancel(ctx), "uncordon", old.Name) })
	routed.answered(ctx, func(a answer, n *kindcluster.Node) bool { return own(a, n) && n != old })
}

type routedClient struct {
	*casestudy.Study
	*kindcluster.Router
	t     *testing.T
	nodes map[string]*kindcluster.Node // by link-layer address
}

func (r *routedClient) kubectl(ctx context.Context, args ...string) {
	r.t.Helper()
	if out, err := r.Cluster.Nodes[0].Kubectl(ctx, args...); err != nil {
		r.t.Errorf("kubectl %v: %v: %s", args, err, out)
	}
}

// answered waits until requests of the client are answered as they should be, given the node to
// which the router sends them, twenty times in a row, and returns that node.
func (r *routedClient) answered(ctx context.Context,
	good func(answer, *kindcluster.Node) bool) (node *kindcluster.Node) {
	r.t.Helper()
	err := kindcluster.Eventually(ctx, askEvery, func() error {
		for range 20 {
			got, err := ask(ctx, r.Client, r.Address)
			if err != nil {
				return err
			}
			if node, err = r.announcer(); err != nil {
				return err
			}
			if !good(got, node) {
				return fmt.Errorf("pod %s on %s saw %s as the client %s, and the address is on %s", got.Pod,
					got.Node, got.Client, r.Client.Addr(true), node.Name)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return node
}

// announcer is the node that the router believes has the address.
func (r *routedClient) announcer() (*kindcluster.Node, error) {
	mac, _, err := r.Neighbour(r.Address)
	if err == nil && r.nodes[mac.String()] == nil {
		err = fmt.Errorf("the router has %q for %s, which is no node's", mac, r.Address)
	}
	return r.nodes[mac.String()], err
}
