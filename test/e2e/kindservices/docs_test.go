package kindservices

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/kind/casestudy"
	"github.com/kvip/kvip/test/doctest"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

// The pages whose commands are run.
const (
	servicesPage = "docs/services.md"
	readme       = "README.md"
)

const (
	// pageAddresses are more than the case study's pool has: what is free stands below its
	// addresses then, for its Service answers at the first of them.
	pageAddresses = 12

	// pageImage is what a node has in the place of the page's image, which is on the Internet.
	// kubectl gives its pods a policy, by its tag, that does not pull what is there.
	pageImage   = "localhost/kvip-echo:page"
	sourceImage = "localhost/kvip-echo:latest"

	askEvery = time.Second / 2
)

// docPage is what the page's reader has.
type docPage struct {
	*casestudy.Study
	t       *testing.T
	control *kindcluster.Node
	workers []*kindcluster.Node
	first   netip.Addr // of the pool
	guide   doctest.Runner
}

// The page's commands do what it says, on a control-plane node, and so do those of README after
// them. What kvip keeps, lets through and refuses is as on the page.
func TestServicesPage(t *testing.T) {
	ctx, s := study(t)
	p := newPage(ctx, t, s)
	p.follow(ctx)
	node := p.announced(ctx)
	p.filtered(ctx, node)
	p.kept(ctx)
	p.inShort(ctx)
	p.poolGone(ctx)
}

func newPage(ctx context.Context, t *testing.T, s *casestudy.Study) *docPage {
	t.Helper()
	p := &docPage{Study: s, t: t, control: s.Cluster.Nodes[0]}
	for _, n := range s.Cluster.Nodes {
		if !n.ControlPlane {
			p.workers = append(p.workers, n)
		}
	}
	first, last, err := s.Cluster.FreeRange(ctx, pageAddresses)
	if err != nil {
		t.Fatal(err)
	}
	p.first = first
	p.guide = doctest.Runner{
		Root: root(), Places: map[string]*kindcluster.Node{"control": p.control},
		Words: strings.NewReplacer(
			"192.0.2.64/28", netip.PrefixFrom(first, first.BitLen()).String(),
			"192.0.2.100-192.0.2.120", first.Next().String()+"-"+last.String(),
			"docker.io/nginxinc/nginx-unprivileged:stable", pageImage,
			"NAME", "web"),
	}
	t.Cleanup(p.end)
	doctest.Install(ctx, t, p.control)
	for _, n := range p.workers {
		if out, err := n.Exec(ctx, "ctr", "-n", "k8s.io", "images", "tag", "--force", sourceImage,
			pageImage); err != nil {
			t.Fatalf("%s: %v: %s", n, err, out)
		}
	}
	return p
}

// end takes away all that the page made, whatever became of it.
func (p *docPage) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), wellWithin)
	defer cancel()
	for _, args := range [][]string{
		{"delete", "service,deployment", "web", "--ignore-not-found", "--cascade=foreground",
			"--request-timeout=2m"},
		{"delete", "ippool", "default", "--ignore-not-found"},
	} {
		if out, err := p.control.Kubectl(ctx, args...); err != nil {
			p.t.Errorf("kubectl %v: %v: %s", args, err, out)
		}
	}
	for _, n := range p.workers {
		if _, err := n.Exec(ctx, "ctr", "-n", "k8s.io", "images", "rm", pageImage); err != nil {
			p.t.Error(err)
		}
	}
	doctest.Uninstall(p.t, p.control)
	p.eventually(ctx, func() error {
		for _, n := range p.workers {
			if out, err := n.Shell(ctx,
				"ip -brief address show; nft list table inet kvip 2>/dev/null || true"); err != nil ||
				strings.Contains(out, p.first.String()) {
				return cmp.Or(err, fmt.Errorf("%s still has %s:\n%s", n, p.first, out))
			}
		}
		return nil
	})
}
