package kubeadm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/doctest"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

// The pages whose commands are run.
const (
	kubeadmPage = "docs/kubeadm.md"
	troublePage = "docs/troubleshooting.md"
	bgpPage     = "docs/bgp.md"

	// Those that test/e2e/kindservices runs.
	servicesPage = "docs/services.md"
	readme       = "README.md"
)

// runs has, for each story that a block of a page may belong to, the test that runs it.
var runs = map[string]string{
	"kvip":              "TestKubeadmPage of cmd/kvip",
	"move":              "TestMoveToVirtualIP",
	"renew":             "TestMoveToVirtualIP",
	"daemonset":         "TestMoveToVirtualIP",
	"daemonset removed": "TestMoveToVirtualIP",
	"second":            "TestDaemonSetBesideStaticPod",
	"second removed":    "TestDaemonSetBesideStaticPod",
	"replace":           "TestNodeResetAndRejoined",
	"rejoin":            "TestNodeResetAndRejoined",
	"look":              "TestTroubleshootingCommands",
	"bgp":               "TestBGPPage of cmd/kvip",
	"services":          "TestServicesPage of test/e2e/kindservices",
	"services in short": "TestServicesPage of test/e2e/kindservices",
}

// Each block of commands on the pages is run by a test, or the page says why not.
func TestEveryBlockIsRunOrSaysWhyNot(t *testing.T) {
	output := map[string]bool{}
	for _, page := range []string{kubeadmPage, troublePage, bgpPage, servicesPage, readme} {
		for _, b := range doctest.Blocks(t, root(), page) {
			output[b.Story] = true
			switch {
			case b.Story == "" && b.Why == "":
				t.Errorf(`%s: no comment "<!-- run: STORY on PLACE -->" or "<!-- not run: REASON -->" above it`,
					b)
			case b.Story == "":
				t.Logf("%s is not run: %s:\n%s", b, b.Why, b.Text)
			case runs[b.Story] == "":
				t.Errorf("%s: no test runs %q", b, b.Story)
			}
		}
	}
	for story := range runs {
		if !output[story] {
			t.Errorf("no page has a block for %q", story)
		}
	}
}

// The commands of the troubleshooting page work in a healthy cluster: on the holder, on
// a control plane that is not, on a worker, and outside.
func TestTroubleshootingCommands(t *testing.T) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	holder := steadyHolder(ctx, t)
	worker := c.Nodes[slices.IndexFunc(c.Nodes, func(n *kindcluster.Node) bool {
		return !n.ControlPlane
	})]
	doctest.Install(ctx, t, holder)
	doctest.Install(ctx, t, worker)
	t.Cleanup(func() { doctest.Uninstall(t, holder, worker) })
	// the kubelet tidies up once a minute
	err := kindcluster.Eventually(ctx, time.Second, func() error {
		out, err := holder.Shell(ctx, "ls -d /var/log/pods/kube-system_kvip-*")
		if err == nil && strings.Count(out, "\n") != 1 {
			err = errors.New("logs of pods that are gone:\n" + out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	g := doctest.Runner{
		Root:   root(),
		Places: map[string]*kindcluster.Node{"holder": holder, "worker": worker},
		Words:  strings.NewReplacer("192.0.2.10", c.VIP.String(), "192.0.2.11", holder.Addr.String()),
	}
	out := g.Run(ctx, t, troublePage, "look")
	for _, want := range []string{"Holder:    " + holder.Name, "credentials: serviceaccount",
		"IP Address:" + c.VIP.String(), "inet " + c.VIP.String() + "/32"} {
		if !strings.Contains(out, want) {
			t.Errorf("the commands do not show %q", want)
		}
	}
}
