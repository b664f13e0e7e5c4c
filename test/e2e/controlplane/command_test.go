package controlplane

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// runKvip runs a kvip command in the node, as its administrator would, and returns what it
// printed.
func (s *env) runKvip(n *cluster.Node, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	return s.command(n, n.WithState(netlab.Command{Path: s.kvip, Args: args}))
}

// command runs any command in the node.
func (s *env) command(n *cluster.Node, cmd netlab.Command) (stdout, stderr string, err error) {
	s.t.Helper()
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Output = &out, &diagnostics
	p, err := n.Host.Start(cmd)
	s.must(err)
	err = p.Err()
	return out.String(), diagnostics.String(), err
}

// runIP runs iproute2 in a host and returns what it printed.
func (s *env) runIP(h *netlab.Host, args ...string) string {
	s.t.Helper()
	var out []byte
	s.must(h.Do(func() (err error) {
		out, err = exec.Command("ip", args...).CombinedOutput()
		return err
	}))
	return string(out)
}

// waitLogged waits until the node's agent has logged a line with all the words in this story.
func (s *env) waitLogged(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(n.Name+" to log "+strings.Join(words, ", "),
		func() bool { return s.hasLogged(n, words...) })
}

// hasLogged reports whether the node's agent has logged a line with all the words in this story.
func (s *env) hasLogged(n *cluster.Node, words ...string) bool {
	for line := range strings.Lines(logOf(s, n)) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err == nil && !at.Before(s.began.Truncate(time.Millisecond)) && containsAll(line, words) {
			return true
		}
	}
	return false
}

// checkRaces fails the story if Go's runtime has complained in an agent's log, as it does when
// the agents are built with -race.
func (s *env) checkRaces() {
	for _, n := range s.c.Nodes {
		for _, complaint := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if _, what, found := strings.Cut("\n"+logOf(s, n), complaint); found {
				s.t.Errorf("%s: %s %.4000s", n.Name, strings.TrimSpace(complaint), what)
			}
		}
	}
}

// waitUnready waits until the node's agent says on /readyz that it is not ready, with all the
// words.
func (s *env) waitUnready(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(n.Name+" to be unready for "+strings.Join(words, ", "), func() bool {
		code, body, err := s.page(n, "/readyz")
		return err == nil && code == http.StatusServiceUnavailable && containsAll(body, words)
	})
}

// waitReady waits until the node's agent is ready.
func (s *env) waitReady(n *cluster.Node) {
	s.t.Helper()
	s.wait(n.Name+" to be ready", func() bool {
		code, body, err := s.page(n, "/readyz")
		return err == nil && code == http.StatusOK && strings.HasPrefix(body, "ok")
	})
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// metrics are the samples of one /metrics page by name and labels, as in
// `kvip_holder{vip="192.0.2.10"}`.
type metrics map[string]float64

var sampleLine = regexp.MustCompile(`(?m)^([a-z_]+(?:\{.*\})?) ([^ \n]+)$`)

// metrics reads what the node's agent serves for Prometheus; nil means that none answers.
func (s *env) metrics(n *cluster.Node) metrics {
	client := &http.Client{Timeout: 2 * time.Second,
		Transport: &http.Transport{DialContext: n.Host.Dial, DisableKeepAlives: true}}
	response, err := client.Get("http://" + net.JoinHostPort(n.Host.Addr(true).String(), "2112") +
		"/metrics")
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil
	}
	m := metrics{}
	for _, line := range sampleLine.FindAllStringSubmatch(string(text), -1) {
		if value, err := strconv.ParseFloat(line[2], 64); err == nil {
			m[line[1]] = value
		}
	}
	return m
}

// sum adds the samples whose name and labels contain all the words.
func (m metrics) sum(words ...string) (sum float64) {
	for name, value := range m {
		if containsAll(name, words) {
			sum += value
		}
	}
	return sum
}

// count returns the sum of one sample, by name and labels, over all agents.
func (s *env) count(sample string) (sum float64) {
	s.t.Helper()
	for _, n := range s.c.Nodes {
		s.wait(n.Name+" to serve "+sample, func() bool {
			value, ok := s.metrics(n)[sample]
			sum += value
			return ok
		})
	}
	return sum
}

// waitMetric waits until the sum of the samples is above 0.
func (s *env) waitMetric(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(n.Name+" to count "+strings.Join(words, ", "),
		func() bool { return s.metrics(n).sum(words...) > 0 })
}

// restartAPIs starts all API servers again after change, and waits until they are ready.
func (s *env) restartAPIs(ctx context.Context, change func(*cluster.APIOptions)) {
	s.t.Helper()
	for _, n := range s.c.Nodes {
		change(&n.API)
		s.must(n.RestartAPI())
	}
	s.must(s.c.WaitReady(ctx))
}
