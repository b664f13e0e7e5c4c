package kinddemo

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

var vip = netip.MustParseAddr("172.18.255.253")

// recorded is a good run.
func recorded() result {
	return result{
		failover: failover.Result{
			Victim: "ha-control-plane", Outage: 5130 * time.Millisecond, Back: true,
			Holding: netlab.HolderReport{Samples: 1200},
		},
		vip: vip, heir: "ha-control-plane3", ready: 41 * time.Second, holder: "ha-control-plane3",
		after: netlab.HolderReport{Samples: 800},
	}
}

func TestSummary(t *testing.T) {
	want := `summary
  outage       5.13 s: the longest time between answers to a client outside the nodes
  address      172.18.255.253 went from ha-control-plane to ha-control-plane3
  two holders  never, in 2000 samples of the networks of all control planes
  killed node  Ready again 41 s after its start, without manual steps`
	if got := recorded().summary(); got != want {
		t.Errorf("summary:\n%s\nwant:\n%s", got, want)
	}
	r := recorded()
	r.holder, r.failover.Holding, r.after = "ha-control-plane2", netlab.HolderReport{},
		netlab.HolderReport{}
	got := r.summary()
	for _, want := range []string{"               and then to ha-control-plane2\n",
		"two holders  not sampled: that needs root"} {
		if !strings.Contains(got, want) {
			t.Errorf("the summary lacks %q:\n%s", want, got)
		}
	}
}

func TestJudge(t *testing.T) {
	if err := recorded().judge(); err != nil {
		t.Errorf("a good run is judged: %v", err)
	}
	two, later, stayed := recorded(), recorded(), recorded()
	two.failover.Holding.TwoHolders = 3
	later.after.TwoHolders = 1
	stayed.heir = stayed.failover.Victim
	for what, r := range map[string]result{"two holders": two, "two holders after the start": later,
		"no heir": stayed} {
		if r.judge() == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestHolds(t *testing.T) {
	now := time.Now()
	report := status.Report{Lease: status.Lease{Holder: "ha-control-plane"}}
	if got, want := holds(vip, report, now), "172.18.255.253 is on ha-control-plane"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	at := now.Add(-90 * time.Second)
	report.Transitions = []kubelease.Transition{{Time: now.Add(-time.Hour), Term: 1},
		{Time: at, Term: 2}}
	want := "172.18.255.253 is on ha-control-plane, since " + at.Local().Format(time.TimeOnly) +
		" (90 s ago, term 2)"
	if got := holds(vip, report, now); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNextCommandsReachTheEngine(t *testing.T) {
	machine := nextSteps(kindenv.Place{}, ".cache/kind-ha", vip, "ha-control-plane2")
	for _, want := range []string{
		"\n  curl -sk https://172.18.255.253:6443/version\n",
		"\n  docker exec ha-control-plane2 kubectl get nodes -o wide\n",
		"\n  kubectl --kubeconfig .cache/kind-ha/kubeconfig ", "\n  make kind-down ",
	} {
		if !strings.Contains(machine, want) {
			t.Errorf("%q is missing:\n%s", want, machine)
		}
	}
	own := nextSteps(kindenv.Place{DockerDir: "/home/u/.cache/kvip/docker-demo", Sudo: true},
		".cache/kind-ha", vip, "ha-control-plane2")
	for _, want := range []string{
		"\n  sudo kind/docker.sh run /home/u/.cache/kvip/docker-demo curl -sk ",
		"\n  sudo docker -H unix:///home/u/.cache/kvip/docker-demo/docker.sock exec ha-control-plane2 " +
			"kubectl -n kube-system exec kvip-ha-control-plane2 -- /kvip status\n",
		"\n  sudo make kind-down ",
	} {
		if !strings.Contains(own, want) {
			t.Errorf("%q is missing:\n%s", want, own)
		}
	}
}

func TestShortNames(t *testing.T) {
	for name, want := range map[string]string{"ha-control-plane": "cp1", "ha-control-plane3": "cp3",
		"ha-worker": "ha-worker", "": ""} {
		if got := short(name); got != want {
			t.Errorf("short(%q) = %q, want %q", name, got, want)
		}
	}
}
