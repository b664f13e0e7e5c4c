package servicesdemo

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/demo/kindenv"
)

func TestVerdicts(t *testing.T) {
	good := []verdict{{"spread", nil}, {"unready pod", nil}}
	if got, want := summary(good),
		"summary\n  spread       passed\n  unready pod  passed"; got != want {
		t.Errorf("summary:\n%s\nwant:\n%s", got, want)
	}
	if err := failures(good); err != nil {
		t.Errorf("a good run fails: %v", err)
	}
	bad := append(good, verdict{"drain", errors.New("one\ntwo")},
		verdict{"dead node", errors.New("three")})
	if got := summary(bad); !strings.Contains(got, "\n  drain        FAILED\n") ||
		!strings.Contains(got, "\n  spread       passed\n") {
		t.Errorf("summary:\n%s", got)
	}
	if err := failures(bad); err == nil || err.Error() != "failed: drain, dead node" {
		t.Errorf("failures: %v", err)
	}
	if got := bad[2].String(); got != "verdict: FAILED: one\n    two" {
		t.Errorf("%q", got)
	}
	if got := good[0].String(); got != "verdict: passed" {
		t.Errorf("%q", got)
	}
}

func TestShortNames(t *testing.T) {
	for name, want := range map[string]string{"services-worker": "w1", "services-worker3": "w3",
		"services-control-plane": "services-control-plane"} {
		if got := short(name); got != want {
			t.Errorf("short(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestNextCommandsReachTheEngine(t *testing.T) {
	vip := netip.MustParseAddr("172.18.255.246")
	for _, c := range []struct {
		place kindenv.Place
		want  []string
	}{
		{kindenv.Place{}, []string{
			"\n  curl -s http://172.18.255.246/\n",
			"\n  docker exec services-control-plane kubectl get ippools,",
			"\n  kubectl --kubeconfig dir/kubeconfig ", "\n  make kind-down ",
		}},
		{kindenv.Place{DockerDir: "/c/docker-demo", Sudo: true}, []string{
			"\n  sudo kind/docker.sh run /c/docker-demo curl -s http",
			"\n  sudo docker -H unix:///c/docker-demo/docker.sock pause services-worker ",
			"\n  sudo make kind-down ",
		}},
	} {
		got := nextSteps(c.place, "dir", vip)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q is missing:\n%s", want, got)
			}
		}
	}
}
