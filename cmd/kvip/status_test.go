package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// remote is a cluster on another machine: on this one, a network namespace, nothing listens on the
// ports of API servers and agents at 127.0.0.1.
type remote struct {
	t      *testing.T
	store  *fakeapi.Store
	config string // kubeconfig that names its API server
	host   string
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	testutil.NewNetns(t)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{
		t:      t,
		store:  store,
		host:   "127.0.0.2:6443",
		config: filepath.Join(t.TempDir(), "remote.conf"),
	}
	server, err := store.Serve(r.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	store.SetPeers(r.host)
	if err := store.WriteKubeconfig(r.config, "https://"+r.host,
		fakeapi.User{Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// lease makes the Lease as holder has it now.
func (r *remote) lease(holder string) {
	r.t.Helper()
	seconds, at := int32(60), metav1.NewMicroTime(time.Now())
	err := r.store.Put(
		"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kvip",
		&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "kvip", Namespace: "kube-system"},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity:       &holder,
				LeaseDurationSeconds: &seconds,
				RenewTime:            &at,
			},
		},
	)
	if err != nil {
		r.t.Fatal(err)
	}
}

// agent answers as the agent of a node whose API server is the cluster's.
func (r *remote) agent(a status.Agent) {
	r.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.2:2112")
	if err != nil {
		r.t.Fatal(err)
	}
	server := &httptest.Server{
		Listener: listener,
		Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(a)
		})},
	}
	server.Start()
	r.t.Cleanup(server.Close)
}

// TestStatusFromAWorkstation finds the server in the files that are named, in the ways of kubectl.
func TestStatusFromAWorkstation(t *testing.T) {
	r := newRemote(t)
	r.lease("cp1_boot_1")
	r.agent(status.Agent{Node: "cp1", State: "holding", Owned: true, VIPs: []string{"192.0.2.10"}})
	home := os.Getenv("HOME")
	ask := func(name string, args ...string) {
		t.Helper()
		got := kvip(t, append([]string{"status"}, args...)...)
		if got.code != exitOK || !strings.Contains(got.stdout, "Holder:    cp1\n") || got.stderr != "" {
			t.Errorf("%s: exit code %d, stdout %s, stderr %s", name, got.code, got.stdout, got.stderr)
		}
	}
	ask("--kubeconfig", "--kubeconfig", r.config)
	t.Setenv("KUBECONFIG", filepath.Join(home, "absent")+string(filepath.ListSeparator)+r.config)
	ask("KUBECONFIG")
	t.Setenv("KUBECONFIG", "")
	if err := os.Mkdir(filepath.Join(home, ".kube"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.config, filepath.Join(home, ".kube", "config")); err != nil {
		t.Fatal(err)
	}
	ask("the user's own file")
}

// TestStatusExitCodes checks the exit codes, by which a script can decide without parsing text.
func TestStatusExitCodes(t *testing.T) {
	r := newRemote(t)
	for _, row := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"no such file", []string{"--kubeconfig", "/nonexistent/a.conf"}, exitFailure,
			`none of ["/nonexistent/a.conf"] exists`},
		{"no server", []string{}, exitFailure,
			"run this on a control-plane node, as root, or give --kubeconfig"},
		{"no lease", []string{"--kubeconfig", r.config}, exitUnhealthy,
			"no node holds the address: lease kube-system/kvip does not exist"},
		{"another lease", []string{"--kubeconfig", r.config, "--lease-name", "nope", "-o", "json"},
			exitUnhealthy,
			"lease kube-system/nope does not exist"},
		{"refused", []string{"--kubeconfig", r.config, "--port", "0"}, exitUsage,
			"--port: 0 is out of range"},
	} {
		got := kvip(t, append([]string{"status"}, row.args...)...)
		if got.code != row.code || !strings.Contains(got.stderr, row.stderr) ||
			(row.code == exitUnhealthy) != (got.stdout != "") {
			t.Errorf("%s: exit code %d, want %d, stdout %s, stderr %s", row.name, got.code, row.code,
				got.stdout, got.stderr)
		}
	}
	r.lease("")
	if got := kvip(t, "status", "--kubeconfig", r.config); got.code != exitUnhealthy ||
		!strings.Contains(got.stderr, "is released") {
		t.Errorf("released: exit code %d, stderr %s", got.code, got.stderr)
	}
}

// TestStatusRefusesAKubeconfigThatItCannotUse says what kvip cannot do with it.
func TestStatusRefusesAKubeconfigThatItCannotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
"users": [{"name": "u", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "login", "interactiveMode": "Never"}}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"status", "service", "web"}} {
		got := kvip(t, append(args, "--kubeconfig", file)...)
		if got.code != exitFailure ||
			!strings.Contains(got.stderr, "its user must have a client certificate or a token") {
			t.Errorf("kvip %s: exit code %d, stderr %s", args, got.code, got.stderr)
		}
	}
}

// TestStatusIsSafeForATerminal in text, in JSON and in its error, whatever an agent says.
func TestStatusIsSafeForATerminal(t *testing.T) {
	r := newRemote(t)
	const evil = "\x1b]0;owned\x07\u009b2J\u202e"
	r.lease(evil + "_boot_1")
	r.agent(
		status.Agent{
			Node:     evil,
			State:    evil,
			Reason:   evil,
			Link:     evil,
			Warning:  evil,
			NotReady: evil,
			VIPs:     []string{evil},
		},
	)
	for _, output := range []string{"text", "json"} {
		got := kvip(t, "status", "--kubeconfig", r.config, "-o", output)
		if got.code != exitUnhealthy || !strings.Contains(got.stdout, "owned") ||
			!strings.Contains(got.stderr, "owned") {
			t.Errorf("-o %s: exit code %d, stdout %q, stderr %q", output, got.code, got.stdout, got.stderr)
		}
		for _, text := range []string{got.stdout, got.stderr} {
			if i := strings.IndexAny(text, evil[:1]+"\x07\u009b\u202e"); i >= 0 {
				t.Errorf("-o %s prints %s", output, fmt.Sprintf("%q", text[i:]))
			}
		}
	}
}

// announcerAgent is the page of an agent that announces by BGP with one session.
func announcerAgent(established bool) status.Agent {
	session := status.Session{Peer: "tor-a", Address: "192.0.2.1", LocalAS: 65010, PeerAS: 65000,
		State: "Established", Since: time.Now().Add(-time.Minute),
		Families: []status.SessionFamily{{Family: "IPv4", NextHop: "127.0.0.2", Routes: 1}}}
	if !established {
		session.State, session.Families = "Idle", nil
		session.Code, session.Reason = "hold-timer", "the peer sent nothing for 9s"
	}
	return status.Agent{Node: "cp1", State: "announcing", Reason: "api-ready", Owned: true,
		VIPs: []string{"192.0.2.10"}, BGP: &status.BGP{
			Announcement: "announcing", Sessions: []status.Session{session},
		}}
}

// TestStatusByBGP: the exit codes are right without a Lease, and so is the refusal of a move.
func TestStatusByBGP(t *testing.T) {
	for _, established := range []bool{true, false} {
		t.Run(fmt.Sprint(established), func(t *testing.T) {
			r := newRemote(t)
			r.agent(announcerAgent(established))
			code, problem := exitOK, ""
			if !established {
				code, problem = exitUnhealthy, "the peer sent nothing for 9s"
			}
			for _, row := range []struct {
				args   []string
				code   int
				stdout string
				stderr string
			}{
				{[]string{"status"}, code, "Announced:   by BGP from cp1\n", problem},
				{[]string{"status", "-o", "json"}, code, `"announce": "bgp"`, problem},
				{[]string{"status", "bgp"}, code, "cp1    tor-a   192.0.2.1", problem},
				{[]string{"status", "bgp", "--peer", "tor-a", "-o", "json"}, code, `"peer": "tor-a"`, problem},
				{[]string{"status", "bgp", "--peer", "tor-b"}, exitUnhealthy, "",
					`no node has the BGP peer "tor-b"`},
				{[]string{"move"}, exitFailure, "", "the VIP is announced by BGP: there is nothing to move"},
			} {
				got := kvip(t, append(row.args, "--kubeconfig", r.config)...)
				if got.code != row.code || !strings.Contains(got.stdout, row.stdout) ||
					!strings.Contains(got.stderr, row.stderr) {
					t.Errorf("kvip %s: exit code %d, want %d, stdout %s, stderr %s", row.args, got.code,
						row.code, got.stdout, got.stderr)
				}
			}
		})
	}
}

// TestStatusBGPExitCodes of failures and refusals.
func TestStatusBGPExitCodes(t *testing.T) {
	r := newRemote(t)
	for _, row := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{}, exitFailure, "no agent answers at "},
		{[]string{"-o", "yaml"}, exitUsage, `"yaml" is unknown`},
		{[]string{"tor-a"}, exitUsage, "tor-a"},
	} {
		got := kvip(t, append([]string{"status", "bgp", "--kubeconfig", r.config}, row.args...)...)
		if got.code != row.code || !strings.Contains(got.stderr, row.stderr) {
			t.Errorf("%s: exit code %d, want %d, stderr %s", row.args, got.code, row.code, got.stderr)
		}
	}
}
