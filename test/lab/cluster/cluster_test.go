package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

// TestCluster starts one cluster for all subtests. Each ends with a Reset.
func TestCluster(t *testing.T) {
	testutil.NeedRoot(t)
	ctx := t.Context()
	start := time.Now()
	c, err := Start(ctx, Config{Progress: testWriter{t}})
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("ready in %s", time.Since(start))
	for _, sub := range []struct {
		name string
		run  func(*testing.T, *Cluster)
	}{
		{"SurvivesEachFault", testFaults},
		{"ResetRemovesWhatAgentsLeft", testReset},
		{"APIOptions", testAPIOptions},
		{"ClientReachesAHandMadeVIP", testClient},
	} {
		t.Run(sub.name, func(t *testing.T) { sub.run(t, c) })
		start := time.Now()
		must(t, c.Reset(ctx))
		t.Logf("reset in %s", time.Since(start))
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func testFaults(t *testing.T, c *Cluster) {
	ctx, n := t.Context(), c.Nodes[1]
	for _, f := range []struct {
		name   string
		inject func() error
	}{
		{"API server killed", n.KillAPI},
		{"API server hung", n.FreezeAPI},
		{"API server asked to end", n.TerminateAPI},
		{"etcd killed", n.KillEtcd},
		{"node off", n.PowerOff},
		{"node frozen", n.Host.Freeze},
		{"unplugged", n.Host.Unplug},
	} {
		must(t, f.inject())
		wait.Eventually(t, patience, f.name,
			func() bool { return n.Ready(ctx) != nil || f.name == "unplugged" })
		must(t, c.Nodes[0].WaitReady(ctx)) // the others have a quorum
		start := time.Now()
		must(t, c.Heal(ctx))
		t.Logf("%s: healed in %s", f.name, time.Since(start))
	}
}

func testReset(t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	kube, err := c.Kube(n)
	must(t, err)
	leases := kube.CoordinationV1().Leases(metav1.NamespaceSystem)
	_, err = leases.Create(t.Context(),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "kvip"}}, metav1.CreateOptions{})
	must(t, err)
	_, err = kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "kvip"}}, metav1.CreateOptions{})
	must(t, err)
	must(t, n.WriteOldToken(t.Context(), "kvip", time.Hour, time.Hour))
	must(t, accepted(t, n))
	_, err = kube.RbacV1().Roles(metav1.NamespaceDefault).Create(t.Context(),
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "kvip-x"}}, metav1.CreateOptions{})
	must(t, err)
	must(t, n.Host.AddAddr(netip.PrefixFrom(VIP4, 32)))
	a, err := n.RunAgent(netlab.Command{Path: "/bin/sleep", Args: []string{"1000"}})
	must(t, err)
	if _, err := n.RunAgent(netlab.Command{Path: "/bin/sleep"}); err == nil {
		t.Error("a second agent was started")
	}
	must(t, a.Kill())
	must(t, c.Heal(t.Context()))
	if a = n.Agent(); !a.Running() {
		t.Error("Heal did not start the agent again")
	}
	must(t, c.Reset(t.Context()))
	s, err := c.Sample(VIP4)
	must(t, err)
	must(t, s.Stop())
	_, err = kube.RbacV1().Roles(metav1.NamespaceDefault).Get(t.Context(), "kvip-x",
		metav1.GetOptions{})
	if _, stat := os.Stat(n.State()); err == nil || stat == nil {
		t.Errorf("left after Reset: role %v, state directory %v", err == nil, stat == nil)
	}
	if _, err := leases.Get(t.Context(), "kvip", metav1.GetOptions{}); err == nil || a.Running() ||
		n.Agent() != nil || len(s.Holders(VIP4)) > 0 {
		t.Errorf("left after Reset: lease %v, agent running %v, holders %v", err == nil, a.Running(),
			s.Holders(VIP4))
	}
}

// accepted sends a request with the token in the node's State.
func accepted(t *testing.T, n *Node) error {
	text, err := os.ReadFile(filepath.Join(n.State(), "token"))
	must(t, err)
	conf, err := n.c.RESTConfig(n)
	must(t, err)
	conf = rest.AnonymousClientConfig(conf)
	conf.BearerToken, conf.Dial = string(text), n.Host.Dial
	kube, err := kubernetes.NewForConfig(conf)
	must(t, err)
	self, err := kube.AuthenticationV1().SelfSubjectReviews().Create(t.Context(),
		&authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil && self.Status.UserInfo.Username != "system:serviceaccount:kube-system:kvip" {
		t.Errorf("the token is %s's", self.Status.UserInfo.Username)
	}
	return err
}

func testAPIOptions(t *testing.T, c *Cluster) {
	ctx, n := t.Context(), c.Nodes[2]
	n.API = APIOptions{NoAnonymous: true, NodeAddressOnly: true, ShutdownDelay: 30 * time.Second,
		OtherKey: true, Audit: true}
	must(t, n.StartAPI())
	must(t, n.WaitReady(ctx))
	if conn, err := n.Host.Dial(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", Port)); err == nil {
		_ = conn.Close()
		t.Error("the API server listens on loopback")
	}
	must(t, n.TerminateAPI())
	wait.Eventually(t, patience, "readyz to report the shutdown", func() bool {
		err := n.Ready(ctx)
		return err != nil && strings.Contains(err.Error(), "500")
	})
	events, err := n.AuditEvents(0)
	must(t, err)
	if len(events) == 0 || events[0].Received.IsZero() || n.APIStarted(events[0].Received).IsZero() ||
		n.AuditOffset() == 0 {
		t.Errorf("%d audit events", len(events))
	}
}

func testClient(t *testing.T, c *Cluster) {
	s, err := c.Sample(VIP4, VIP6)
	must(t, err)
	defer func() { must(t, s.Stop()) }()
	for _, vip := range []netip.Addr{VIP4, VIP6} {
		must(t, c.Nodes[1].Host.AddAddr(netip.PrefixFrom(vip, vip.BitLen())))
		client, err := c.StartClient(vip)
		must(t, err)
		defer client.Stop()
		wait.Eventually(t, patience, "answers at "+vip.String(), func() bool {
			for _, r := range client.Requests(time.Time{}) {
				if r.OK() && r.Server == "cp2" {
					return true
				}
			}
			return false
		})
	}
	time.Sleep(time.Second)
	if w := s.Window(time.Time{}, time.Time{}); w.TwoHoldersAny > 0 {
		t.Errorf("%d samples with two holders", w.TwoHoldersAny)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	testutil.NeedRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start with a second's time: %v", err)
	}
}

func TestArgsFromManifest(t *testing.T) {
	pod, err := os.ReadFile("testdata/pod.yaml")
	must(t, err)
	args, env, err := ArgsFromManifest(pod, "cp2")
	must(t, err)
	if got, want := strings.Join(args, " "), "manager --vip=10.77.0.100"; got != want {
		t.Errorf("arguments %q, want %q", got, want)
	}
	if got, want := strings.Join(env, " "),
		"NODE_NAME=cp2 POD_NAME=kvip-cp2 POD_NAMESPACE=kube-system LEVEL=1"; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
	for name, bad := range map[string]string{
		"not YAML":      "\t",
		"not a pod":     strings.Replace(string(pod), "kind: Pod", "kind: Job", 1),
		"unknown field": strings.Replace(string(pod), "command:", "comand:", 1),
		"unknown value": strings.Replace(string(pod), "spec.nodeName", "status.podIP", 1),
	} {
		if _, _, err := ArgsFromManifest([]byte(bad), "cp2"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
