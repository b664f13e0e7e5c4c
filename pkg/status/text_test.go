package status

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
)

var update = flag.Bool("update", false, "rewrite the golden files; review the difference")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the text shows local times
	os.Exit(m.Run())
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test ./pkg/status -update and review it\ngot:\n%s", file, got)
	}
}

// agent returns the page of a standby agent.
func agent(node string) *Agent {
	return &Agent{
		Node: node, Identity: node + "_boot_1", Version: "v1.0.0",
		VIPs: []string{"10.0.0.100", "fd00::100"}, Link: "eth0",
		State: "standby", Reason: "HeldByOther", Term: 4,
		Health: "healthy", HealthWhy: "/readyz answers 200",
		Credentials: "/etc/kubernetes/admin.conf",
	}
}

// held returns the report of a cluster whose VIPs node-a holds.
func held() Report {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := Report{
		Lease: Lease{
			Namespace: "kube-system", Name: "kvip", Exists: true,
			Holder: "node-a", Identity: "node-a_boot_1", Term: 4,
			Renewed: began, Age: 712 * time.Millisecond, Duration: 5 * time.Second,
		},
		Nodes: []Node{
			{Address: "10.0.0.1:6443", Name: "node-a", Ready: true, Agent: agent("node-a")},
			{Address: "10.0.0.2:6443", Name: "node-b", Ready: true, Agent: agent("node-b")},
			{Address: "10.0.0.3:6443", Name: "node-c", Ready: true, Agent: agent("node-c")},
		},
		Transitions: []kubelease.Transition{
			{Time: began.Add(-48 * time.Hour), To: "node-c_boot_1", Term: 3, Reason: election.ReasonExpired},
			{Time: began.Add(-time.Hour), From: "node-c_boot_1", To: "node-a_boot_1", Term: 4,
				Reason: election.ReasonShutdown},
		},
	}
	a := r.Nodes[0].Agent
	a.State, a.Reason, a.Owned = "holding", "Released", true
	a.Peers = []string{"10.0.0.2:6443", "10.0.0.3:6443"}
	return r
}

// TestText has each state that an administrator may have to act on.
func TestText(t *testing.T) {
	for name, change := range map[string]func(r *Report){
		"held": func(*Report) {},
		"released": func(r *Report) {
			r.Lease.Holder, r.Lease.Identity = "", ""
			r.Nodes[0].Agent.State, r.Nodes[0].Agent.Reason = "standby", "LinkDown"
		},
		"expired": func(r *Report) {
			r.Lease.Age = 42 * time.Second
			r.Nodes[0] = Node{
				Address: "10.0.0.1:6443",
				Problem: "ask API server for readiness: connection refused",
			}
		},
		"degraded": func(r *Report) {
			r.Degraded = "APIServerNotReady"
			for i := range r.Nodes {
				r.Nodes[i].Ready, r.Nodes[i].Problem = false, "ask API server for readiness: etcd failed"
			}
			r.Nodes[0].Agent.NotReady = "renew lease kube-system/kvip: timeout"
			r.Nodes[1].Agent.Warning = "the API server does not accept the credentials"
		},
		"no-agents": func(r *Report) {
			for i := range r.Nodes {
				r.Nodes[i].Name, r.Nodes[i].Agent = "", nil
			}
		},
		"slow":           func(r *Report) { r.Degraded = "APIServerSlow" },
		"no-transitions": func(r *Report) { r.Transitions = nil },
		"no-lease": func(r *Report) {
			r.Lease, r.Transitions = Lease{Namespace: "kube-system", Name: "kvip"}, nil
		},
		"never-renewed": func(r *Report) { r.Lease.Renewed, r.Lease.Age = time.Time{}, 0 },
		"other-program": func(r *Report) { r.Lease.Holder, r.Lease.Identity = "thief", "thief" },
	} {
		t.Run(name, func(t *testing.T) {
			r := held()
			change(&r)
			r.Problem = r.problem()
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", b.Bytes())
		})
	}
}

// TestTextIsWhole: a report that cannot be written as a whole is an error.
func TestTextIsWhole(t *testing.T) {
	if err := held().WriteText(full{}); err == nil {
		t.Error("no error from a full disk")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrClosed }

// TestJSON compares the format that scripts use.
func TestJSON(t *testing.T) {
	r := held()
	r.Degraded, r.Lease.RequestedBy = "APIServerNotReady", "node-b_boot_1"
	r.Nodes[1] = Node{Address: "10.0.0.2:6443", Problem: "refused"}
	r.Nodes[2].Agent.NotReady, r.Nodes[2].Agent.Warning = "LinkDown", "careful"
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(text, '\n'))
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(back, "", "  ")
	if err != nil || string(again) != string(text) {
		t.Errorf("read and written again it differs: %v\n%s", err, again)
	}
	if empty, _ := json.Marshal(Report{}); strings.Contains(string(empty), "renewed") {
		t.Errorf("a lease that was never renewed says when: %s", empty)
	}
}

// TestTextSaysWhoseRights: agents with bootstrap credentials are listed once, with the reason.
func TestTextSaysWhoseRights(t *testing.T) {
	r := held()
	r.Nodes[0].Agent.CredentialsKind = "serviceaccount"
	for i := range 2 {
		r.Nodes[i+1].Agent.CredentialsKind = "bootstrap"
	}
	r.Nodes[1].Agent.TokenProblem = "store /var/lib/kvip/token: no space left on device"
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"\nnode-b, node-c: agent uses the rights of /etc/kubernetes/admin.conf\n",
		"\nnode-b: store /var/lib/kvip/token: no space left on device\n",
	} {
		if strings.Count(b.String(), line) != 1 {
			t.Errorf("%q is not there once in\n%s", line, &b)
		}
	}
	if strings.Count(b.String(), "agent uses") != 1 {
		t.Errorf("a node with its own token is listed:\n%s", &b)
	}
}

// TestTextIsPrintable: control characters of agents, API servers and the lease are escaped.
func TestTextIsPrintable(t *testing.T) {
	const evil = "\x1b[2J\u009b31m\u202e\nline\x07\xff"
	var r Report
	fill(reflect.ValueOf(&r).Elem(), evil)
	r.Lease.Exists = true
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), `\x1b[2J`); n < 12 {
		t.Errorf("only %d of the texts are shown:\n%q", n, b.String())
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		control := func(r rune) bool { return !unicode.IsPrint(r) }
		if !utf8.ValidString(line) || strings.ContainsFunc(line, control) {
			t.Errorf("printed %q", line)
		}
	}
}

// fill sets every string in v to text, with one element in each list and pointer.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), text)
			}
		}
	}
}
