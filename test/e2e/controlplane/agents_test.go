package controlplane

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// page reads a page of the node's agent on loopback; the error reports that none answers.
func (s *env) page(n *cluster.Node, path string) (code int, body string, err error) {
	client := &http.Client{Timeout: 2 * time.Second,
		Transport: &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}}
	response, err := client.Get("http://" + net.JoinHostPort("127.0.0.1", "2113") + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(text)), err
}

// agentStatus is the agent's own view; its zero value means that it does not answer yet.
func (s *env) agentStatus(n *cluster.Node) (a status.Agent) {
	_, body, err := s.page(n, "/status")
	if err == nil {
		err = json.Unmarshal([]byte(body), &a)
	}
	if err != nil {
		return status.Agent{}
	}
	return a
}

// isStandby reports whether the agent could take over at any moment.
func (s *env) isStandby(n *cluster.Node) bool {
	code, _, err := s.page(n, "/readyz")
	return err == nil && code == http.StatusOK && s.agentStatus(n).State == "standby"
}

// TestAgentRestart kills and restarts the agent on the holder at once: the new one finds
// lease and address still its own and keeps them without a gap (E8). A restart that took a busy
// machine longer than the address may live without an agent proves nothing and is repeated.
func TestAgentRestart(t *testing.T) {
	// With a Lease of 20 s an address lives at least 14 s after the last write of its agent.
	const rounds, soon = 5, 10 * time.Second
	s := newEnv(t, "--lease-duration=20s")
	kept := 0
	for try := 0; kept < rounds; try++ {
		if try == 4*rounds {
			t.Fatalf("%d of %d restarts took less than %v", kept, try, soon)
		}
		holder := s.holder()
		began := time.Now()
		s.must(holder.Agent().Kill())
		<-holder.Agent().Done()
		s.must(holder.RestartAgent())
		s.wait("the new agent", func() bool { return s.agentStatus(holder).State != "" })
		if took := time.Since(began); took > soon {
			t.Logf("the restart took %v", took.Round(time.Millisecond))
			s.waitSettled()
			continue
		}
		s.wait("the new agent to hold", func() bool { return s.agentStatus(holder).Owned })
		for _, c := range s.sampler.Window(began, time.Time{}).Timeline {
			if len(c.Holders) != 1 || c.Holders[0] != holder.Name {
				t.Errorf("%s was on %v after a restart on %s", c.VIP, c.Holders, holder.Name)
			}
		}
		kept++
	}
}

// TestRestartAfterOthersTookOver finds the address gone and the lease another's: the
// restarted agent stands by (E8).
func TestRestartAfterOthersTookOver(t *testing.T) {
	s := newEnv(t)
	old := s.holder()
	s.must(old.Agent().Freeze())
	next := s.waitMoved(old)
	s.must(old.Agent().Kill())
	<-old.Agent().Done()
	s.must(old.RestartAgent())
	s.wait("the agent to stand by", func() bool { return s.isStandby(old) })
	if h := s.holder(); h != next {
		t.Errorf("%s took the address back from %s", h.Name, next.Name)
	}
}

// TestLinkFlapping takes the holder's link down and up ten times: the lease is released
// when it is down (E5), and it never has two holders.
func TestLinkFlapping(t *testing.T) {
	s := newEnv(t)
	for i := range 10 {
		old := s.holder()
		if i%2 == 0 {
			s.must(old.Host.Unplug())
		} else {
			s.must(old.Host.LinkDown())
		}
		if i < 4 {
			s.waitMoved(old)
		}
		s.must(old.Host.Plug())
		s.must(old.Host.LinkUp())
		s.must(old.Host.RestoreAddrs())
		s.must(s.c.WaitReady(t.Context()))
		s.waitSettled()
	}
}

// TestAddressFlushed flushes the holder's link, with the node's own address coming back
// and without the virtual one alone being removed (E10).
func TestAddressFlushed(t *testing.T) {
	s := newEnv(t)
	holder := s.holder()
	t.Run("TheVIPAlone", func(t *testing.T) {
		for _, v := range s.vips {
			s.must(holder.Host.DelAddr(netip.PrefixFrom(v, v.BitLen()))) // fails if it is not there
			time.Sleep(4 * netlab.SampleEvery)                           // the sampler has looked since
			s.wait(v.String()+" to be back",
				func() bool { return slices.Contains(s.sampler.Holders(v), holder.Host) })
		}
	})
	t.Run("TheWholeLink", func(t *testing.T) {
		s.must(holder.Host.Flush())
		s.must(holder.Host.RestoreAddrs())
		s.waitSettled()
	})
}

// TestAgentsReport makes sure that every agent says of itself what the sampler sees.
func TestAgentsReport(t *testing.T) {
	s := newEnv(t)
	holder := s.holder()
	for _, n := range s.c.Nodes {
		s.wait(n.Name+" to report",
			func() bool {
				return s.agentStatus(n).Owned == (n == holder) &&
					s.agentStatus(n).Node == n.Name
			})
		s.checkAlive(n)
	}
	if v := s.agentStatus(holder); v.State != "holding" || v.Link != "eth0" ||
		fmt.Sprint(v.Peers) == "[]" {
		t.Errorf("the holder reports %+v", v)
	}
}
