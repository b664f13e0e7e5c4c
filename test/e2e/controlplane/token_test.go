package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/test/lab/cluster"
)

// startHardened starts the agent without any kubeconfig.
func (s *env) startHardened(n *cluster.Node) { s.startAgent(n, "--hardened") }

// waitOwnToken waits until the node's agent works with a token of its own that it has stored.
func (s *env) waitOwnToken(n *cluster.Node) {
	s.t.Helper()
	s.wait(n.Name+" to use its own token", func() bool {
		v := s.agentStatus(n)
		return v.CredentialsKind == "serviceaccount" && v.TokenProblem == "" && s.token(n) != ""
	})
}

// token is what the node's agent has stored.
func (s *env) token(n *cluster.Node) string {
	text, err := os.ReadFile(filepath.Join(n.State(), "token"))
	if err != nil {
		return ""
	}
	return string(text)
}

// checkStays fails the test if the VIP was on any other node than the holder since an instant.
func (s *env) checkStays(holder *cluster.Node, since time.Time) {
	s.t.Helper()
	for _, c := range s.sampler.Window(since, time.Time{}).Timeline {
		if len(c.Holders) != 1 || c.Holders[0] != holder.Name {
			s.t.Errorf("%s was on %v, not on %s alone", c.VIP, c.Holders, holder.Name)
		}
	}
}

func (s *env) kube() kubernetes.Interface {
	s.t.Helper()
	kube, err := s.c.Kube(s.c.Nodes[0])
	s.must(err)
	return kube
}

// TestOwnToken: every agent gets a token within seconds of its start, keeps it where no other user
// can read it, reports it, and needs the administrator's rights no more.
func TestOwnToken(t *testing.T) {
	s := newEnv(t)
	for _, n := range s.c.Nodes {
		s.waitOwnToken(n)
		for name, want := range map[string]os.FileMode{"": 0o700, "token": 0o600, "ca.crt": 0o600} {
			info, err := os.Stat(filepath.Join(n.State(), name))
			s.must(err)
			if info.Mode().Perm() != want {
				t.Errorf("%s: mode of %q is %v", n.Name, name, info.Mode())
			}
		}
		left := time.Until(s.agentStatus(n).TokenExpires)
		if left < 29*24*time.Hour || left > 31*24*time.Hour {
			t.Errorf("%s: the token is valid for %v", n.Name, left)
		}
		s.waitMetric(n, `kvip_credentials{credentials="serviceaccount"}`)
		s.waitMetric(n, `kvip_token_expiry_timestamp_seconds`)
		s.wait(n.Name+" to say on /readyz what it uses", func() bool {
			_, body, _ := s.page(n, "/readyz")
			return containsAll(body, []string{"ok\n", "credentials: serviceaccount", "valid until"})
		})
	}
	role, err := s.kube().RbacV1().Roles("kube-system").Get(t.Context(), "kvip", metav1.GetOptions{})
	s.must(err)
	if m := role.ManagedFields; len(m) != 1 || m[0].Manager != "kvip" ||
		m[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("applied by %+v", m)
	}
	holder, began := s.holder(), time.Now()
	t.Cleanup(func() { s.must(s.c.BindAdmins(context.Background())) })
	s.must(s.c.RevokeAdmins(t.Context()))
	time.Sleep(6 * time.Second) // longer than the lease: the length is the test's subject
	s.checkStays(holder, began)
	s.must(holder.Agent().Terminate(patience))
	s.waitMoved(holder)
	s.must(holder.RestartAgent())
	s.waitSettled()
	s.waitOwnToken(holder)
}

// TestTokenRenewed starts hardened agents with tokens that are two days old: they use them from the
// first request on and renew them with their own right.
func TestTokenRenewed(t *testing.T) {
	s := prepareEnv(t)
	s.apply(s.print("rbac")...)
	s.granted(t.Context(), s.rules(s.print("rbac")))
	old := map[string]string{}
	for _, n := range s.c.Nodes {
		s.must(n.WriteOldToken(t.Context(), "kvip", 48*time.Hour, time.Hour))
		old[n.Name] = s.token(n)
		s.startHardened(n)
	}
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.wait(n.Name+" to renew its token",
			func() bool { return s.token(n) != old[n.Name] && s.token(n) != "" })
		s.waitOwnToken(n)
	}
	s.moveByAPIDeath()
}

// TestHardened switches running nodes to the manifest without kubeconfigs and back. Without a token
// such an agent says what is missing, and neither ends nor is restarted.
func TestHardened(t *testing.T) {
	s := prepareEnv(t)
	first := s.c.Nodes[0]
	s.startHardened(first)
	s.waitUnready(first, "no valid token in /var/lib/kvip", "without --hardened", "credentials: none")
	s.waitMetric(first, `kvip_credentials{credentials="none"}`)
	for _, variant := range [][]string{nil, {"--hardened"}, nil} {
		for _, n := range s.c.Nodes {
			s.must(n.TerminateAgent(patience))
			s.startAgent(n, variant...)
			s.wait(n.Name+" to be ready with its own token",
				func() bool {
					return s.agentStatus(n).NotReady == "" &&
						s.agentStatus(n).CredentialsKind == "serviceaccount"
				})
		}
		s.waitSettled()
	}
}

// TestRightsDeleted takes parts of kvip's own rights away by hand. The agents notice, say so, and
// mend it with the bootstrap credentials; the holder keeps the VIP.
func TestRightsDeleted(t *testing.T) {
	s := newEnv(t)
	s.anyRights = true
	for _, n := range s.c.Nodes {
		s.waitOwnToken(n)
	}
	holder, began := s.holder(), time.Now()
	rbac := s.kube().RbacV1()
	for _, c := range []struct {
		name         string
		remove, back func() error
	}{
		{"the binding of the lease's role", func() error {
			return rbac.RoleBindings("kube-system").Delete(t.Context(), "kvip", metav1.DeleteOptions{})
		}, func() error {
			_, err := rbac.RoleBindings("kube-system").Get(t.Context(), "kvip", metav1.GetOptions{})
			return err
		}},
		{"the lease's role", func() error {
			return rbac.Roles("kube-system").Delete(t.Context(), "kvip", metav1.DeleteOptions{})
		}, func() error {
			_, err := rbac.Roles("kube-system").Get(t.Context(), "kvip", metav1.GetOptions{})
			return err
		}},
	} {
		s.must(c.remove())
		// the first agent that notices
		s.wait(c.name+" to be back", func() bool { return c.back() == nil })
		s.waitSettledTokens()
	}
	// Without the ServiceAccount no token is worth anything: every agent needs a new one.
	before := map[*cluster.Node]string{}
	for _, n := range s.c.Nodes {
		before[n] = s.token(n)
	}
	s.must(s.kube().CoreV1().ServiceAccounts("kube-system").Delete(t.Context(), "kvip",
		metav1.DeleteOptions{}))
	for _, n := range s.c.Nodes {
		s.wait("a new token on "+n.Name, func() bool { return s.token(n) != before[n] })
		s.waitLogged(n, "level=WARN", "own token is refused")
	}
	s.waitSettledTokens()
	s.checkStays(holder, began)
	bindings, err := rbac.RoleBindings("kube-system").List(t.Context(), metav1.ListOptions{})
	s.must(err)
	if len(bindings.Items) < 2 {
		t.Errorf("bindings %+v", bindings.Items)
	}
}

// waitSettledTokens waits until every agent is ready and works with its own token.
func (s *env) waitSettledTokens() {
	s.t.Helper()
	for _, n := range s.c.Nodes {
		s.wait(n.Name+" to be ready with its own token",
			func() bool {
				return s.agentStatus(n).NotReady == "" &&
					s.agentStatus(n).CredentialsKind == "serviceaccount"
			})
		s.waitOwnToken(n)
	}
}

// TestStateDirectory breaks the directory in every way: the agent says what is wrong with it and
// works.
func TestStateDirectory(t *testing.T) {
	s := prepareEnv(t)
	n := s.c.Nodes[0]
	write := func(name, text string) {
		s.must(os.MkdirAll(n.State(), 0o755))
		s.must(os.WriteFile(filepath.Join(n.State(), name), []byte(text), 0o644))
	}
	for _, c := range []struct {
		name, says string
		make       func()
		mend       func()
	}{
		{"Garbage", "not a JSON Web Token", func() { write("token", "garbage\x00") }, nil},
		{"Empty", "not a JSON Web Token", func() { write("token", "") }, nil},
		{"NoCertificate", "holds no certificate", func() {
			write("token", "e30.e30.e30")
			write("ca.crt", "garbage")
		}, nil},
		{"ForgedToken", "own token is refused", func() {
			write("token", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA")
			ca, err := os.ReadFile(filepath.Join(n.Host.Etc, "kubernetes/pki/ca.crt"))
			s.must(err)
			write("ca.crt", string(ca))
		}, nil},
		{"Full", "no space left", func() {
			s.must(os.MkdirAll(n.State(), 0o755))
			s.must(unix.Mount("tmpfs", n.State(), "tmpfs", 0, "size=4k,mode=755"))
		}, func() { s.must(unix.Unmount(n.State(), unix.MNT_DETACH)) }},
		{"ReadOnly", "read-only file system", func() {
			s.must(os.MkdirAll(n.State(), 0o755))
			s.must(unix.Mount("tmpfs", n.State(), "tmpfs", unix.MS_RDONLY, "size=64k,mode=755"))
		}, func() { s.must(unix.Unmount(n.State(), unix.MNT_DETACH)) }},
		{"OfSomebodyElse", "belongs to user 1000", func() {
			s.must(os.MkdirAll(n.State(), 0o755))
			s.must(os.Chown(n.State(), 1000, 1000))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.anyRights = true // what is refused is on purpose
			c.make()
			began := time.Now()
			s.startAgent(n)
			s.wait("the agent to say "+c.says,
				func() bool { return s.loggedSince(n, began, "level=WARN", c.says) })
			s.wait("the agent to work with its own token",
				func() bool {
					return s.agentStatus(n).NotReady == "" &&
						s.agentStatus(n).CredentialsKind == "serviceaccount"
				})
			if c.mend != nil {
				s.wait("/readyz to say "+c.says, func() bool {
					_, body, _ := s.page(n, "/readyz")
					return strings.Contains(body, c.says)
				})
			}
			s.must(n.TerminateAgent(patience))
			if c.mend != nil {
				c.mend()
			}
			s.must(os.RemoveAll(n.State()))
		})
	}
	s.noAgents = true
}

// loggedSince reports whether the node's agent has logged a line with all the words since an
// instant.
func (s *env) loggedSince(n *cluster.Node, since time.Time, words ...string) bool {
	for line := range strings.Lines(logOf(s, n)) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err == nil && !at.Before(since.Truncate(time.Millisecond)) && containsAll(line, words) {
			return true
		}
	}
	return false
}

// TestSigningKeyReplaced starts the API servers again with another key: all tokens are worth
// nothing, and the agents get new ones.
func TestSigningKeyReplaced(t *testing.T) {
	s := newEnv(t)
	s.anyRights = true
	old := map[string]string{}
	for _, n := range s.c.Nodes {
		s.waitOwnToken(n)
		old[n.Name] = s.token(n)
	}
	s.restartAPIs(t.Context(), func(o *cluster.APIOptions) { o.OtherKey = true })
	for _, n := range s.c.Nodes {
		s.wait(n.Name+" to get another token", func() bool { return s.token(n) != old[n.Name] })
		s.waitOwnToken(n)
		s.waitReady(n)
	}
	s.waitSettled()
}

// TestFirstNode follows a first node through `kubeadm init`: no kubeconfig, then one without
// rights, then rights. It is the same for a joining node, which has no super-admin.conf.
func TestFirstNode(t *testing.T) {
	s := prepareEnv(t)
	s.anyRights = true
	n := s.c.Nodes[1]
	const name = "kvip.conf"
	t.Cleanup(func() {
		s.must(n.RemoveKubeconfig(name))
		s.must(s.c.BindAdmins(context.Background()))
	})
	s.must(s.c.RevokeAdmins(t.Context()))
	s.startAgent(n, "--kubeconfig=/etc/kubernetes/super-"+name+",/etc/kubernetes/"+name)
	s.waitUnready(n, "no credentials yet")
	s.must(n.WriteKubeconfig(name, time.Hour))
	s.waitUnready(n, "forbidden", "credentials: bootstrap (/etc/kubernetes/"+name+")")
	s.waitMetric(n, `kvip_credentials{credentials="bootstrap"}`)
	began := time.Now()
	s.must(s.c.BindAdmins(t.Context()))
	s.waitOwnToken(n)
	t.Logf("a token %v after the rights", time.Since(began).Round(time.Millisecond))
	s.must(n.RemoveKubeconfig(name))
	s.waitSettled()
	s.waitOwnToken(n)
	if !s.hasLogged(n, fmt.Sprintf("%q", inUse), "credentials=serviceaccount") {
		t.Error("the change is not reported")
	}
}
