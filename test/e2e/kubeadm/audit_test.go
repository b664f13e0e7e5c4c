package kubeadm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

const (
	auditDir = "/etc/kubernetes/audit"
	auditLog = "/var/log/kube-audit/audit.log"

	// serviceAccount is who kvip wants to be.
	serviceAccount = "system:serviceaccount:kube-system:kvip"

	// auditPolicy logs every request that may be kvip's.
	auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: [kubernetes-admin, kubernetes-super-admin, "` + serviceAccount + `"]
  - level: None
`
)

// auditPatch makes the API servers write an audit log. From 1.36 on, kind writes kubeadm's v1beta4,
// in which arguments are a list.
func auditPatch(image string) string {
	args := "{audit-policy-file: " + auditDir + "/policy.yaml, audit-log-path: " + auditLog + "}"
	if !strings.Contains(image, ":v1.35.") {
		args = "[{name: audit-policy-file, value: " + auditDir +
			"/policy.yaml}, {name: audit-log-path, value: " + auditLog + "}]"
	}
	return `kind: ClusterConfiguration
apiServer:
  extraArgs: ` + args + `
  extraVolumes:
    - {name: audit-policy, hostPath: ` + auditDir + `, mountPath: ` + auditDir + `, readOnly: true, pathType: DirectoryOrCreate}
    - {name: audit-log, hostPath: /var/log/kube-audit, mountPath: /var/log/kube-audit, pathType: DirectoryOrCreate}
`
}

// request is an answered request in an audit log (audit.k8s.io/v1, Event).
type request struct {
	Received time.Time                       `json:"requestReceivedTimestamp"`
	Verb     string                          `json:"verb"`
	URI      string                          `json:"requestURI"`
	User     struct{ Username string }       `json:"user"`
	Status   struct{ Code int }              `json:"responseStatus"`
	Sources  []string                        `json:"sourceIPs"`
	Reasons  map[string]string               `json:"annotations"`
	Object   struct{ Name, Resource string } `json:"objectRef"`
}

func (r request) String() string {
	return fmt.Sprintf("%s %s %s by %s from %v: %d", r.Received.Format("15:04:05.000"), r.Verb, r.URI,
		r.User.Username, r.Sources, r.Status.Code)
}

// audited returns what kvip asked the API server of a node for, in the order of the answers.
func audited(ctx context.Context, n *kindcluster.Node) (all []request, err error) {
	out, err := n.Shell(ctx, `jq -cR 'fromjson? | select(.userAgent == "kvip")' `+auditLog)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		var r request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%s: audit log: %w: %s", n, err, line)
		}
		all = append(all, r)
	}
	return all, nil
}

// forbidden returns the requests that a ready API server refused. One that starts forbids nearly
// everything to nearly everybody until it has read the cluster's roles, and is not ready then.
func forbidden(all []request) (refused []request) {
	ready := make([]bool, len(all)+1) // whether the next answer to /readyz, from here on, is 200
	for i := len(all) - 1; i >= 0; i-- {
		ready[i] = ready[i+1]
		if all[i].URI == "/readyz" {
			ready[i] = all[i].Status.Code == http.StatusOK
		}
	}
	was := false
	for i, r := range all {
		if r.Status.Code == http.StatusForbidden && was && ready[i] {
			refused = append(refused, r)
		}
		if r.URI == "/readyz" {
			was = r.Status.Code == http.StatusOK
		}
	}
	return refused
}

// A refusal counts when the API server was ready before and after it.
func TestForbidden(t *testing.T) {
	ask := func(uri string, code int) (r request) {
		r.URI, r.Status.Code = uri, code
		return r
	}
	ready, starting := ask("/readyz", 200), ask("/readyz", 500)
	refused := ask("/lease", 403)
	for _, c := range []struct {
		name string
		log  []request
		want int
	}{
		{"well", []request{ready, ask("/lease", 200), ready}, 0},
		{"refused", []request{ready, refused, refused, ready}, 2},
		{"at the start", []request{refused, starting, ready}, 0},
		{"at a restart", []request{ready, refused, ask("/readyz", 403), refused, starting, ready}, 0},
	} {
		if got := len(forbidden(c.log)); got != c.want {
			t.Errorf("%s: %d refused, want %d", c.name, got, c.want)
		}
	}
}

// checkAudit returns an error for each request of kvip's that was refused since the cluster was
// born.
func checkAudit(ctx context.Context, c *kindcluster.Cluster) (err error) {
	for _, n := range c.ControlPlanes() {
		all, readErr := audited(ctx, n)
		err = errors.Join(err, readErr)
		for _, r := range forbidden(all) {
			err = errors.Join(err,
				fmt.Errorf("%s: forbidden: %s (%s)", n, r, r.Reasons["authorization.k8s.io/reason"]))
		}
	}
	return err
}

// Nothing that kvip has asked for since the cluster was born was refused to it (the end of the
// tests asks again), and since it could it has worked with its own rights and no administrator's.
func TestLeastPrivilege(t *testing.T) {
	c := cluster(t)
	if err := checkAudit(t.Context(), c); err != nil {
		t.Error(err)
	}
	began := time.Now()
	time.Sleep(5 * time.Second)
	for _, n := range c.ControlPlanes() {
		all, err := audited(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		own := 0
		for _, r := range all {
			switch {
			case r.User.Username == serviceAccount:
				own++
			case r.Received.After(began):
				t.Errorf("%s: in a cluster that is well: %s", n, r)
			}
		}
		t.Logf("%s: %d requests with kvip's own rights, %d with an administrator's", n, own, len(all)-own)
		if own < 10 {
			t.Errorf("%s: only %d requests were made with kvip's own rights", n, own)
		}
		if _, body, err := n.Get(t.Context(), "http://127.0.0.1:2113/readyz"); err != nil ||
			!strings.Contains(strings.ToLower(body), "serviceaccount") {
			t.Errorf("%s: /readyz does not say whose rights kvip uses: %v: %s", n, err, body)
		}
		if mode := strings.TrimSpace(exec(t, n, "stat", "-c", "%a %U",
			"/var/lib/kvip")); mode != "700 root" {
			t.Errorf("%s: /var/lib/kvip is %s", n, mode)
		}
	}
}
