package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/test/lab/cluster"
)

const serviceAccount = "system:serviceaccount:kube-system:kvip"

// TestLeastRights runs the DaemonSet's pods, and one hardened static pod that renews its token
// itself, with the ServiceAccount and the rights that `kvip manifest rbac` prints and no others:
// the VIP is held and moves, Events are posted and `kvip status` works. Then the API servers' audit
// logs must show no refused request, no request outside the printed rights, and no printed right
// that is never used.
func TestLeastRights(t *testing.T) {
	s := prepareEnv(t)
	rights := s.print("rbac")
	s.apply(rights...)
	s.granted(t.Context(), s.rules(rights))
	manifest := s.manifestOf("daemonset", "--health-address=127.0.0.1:2113", "--metrics-address=:2112",
		"--vip="+s.vips[0].String()+","+s.vips[1].String())
	s.must(s.c.Nodes[0].WriteOldToken(t.Context(), "kvip", 48*time.Hour, 48*time.Hour))
	s.startHardened(s.c.Nodes[0])
	for _, n := range s.c.Nodes[1:] {
		_, err := n.RunInCluster(t.Context(), s.kvip, manifest)
		s.must(err)
	}
	s.waitSettled()
	s.moveByAPIDeath()
	s.checkEvents()
	s.statusInCluster(t.Context(), manifest)
	s.audit(s.rules(rights)) // before an API server starts again: it refuses everybody at first
}

// granted waits until every API server knows of the rights: each learns of them by a watch.
func (s *env) granted(ctx context.Context, rights []right) {
	s.t.Helper()
	for _, n := range s.c.Nodes {
		kube, err := s.c.Kube(n)
		s.must(err)
		for _, r := range rights {
			review := &authorizationv1.SubjectAccessReview{}
			review.Spec.User = serviceAccount
			if r.path != "" {
				review.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: r.path,
					Verb: r.verb}
			} else {
				review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
					Verb: r.verb, Group: r.group, Resource: r.resource, Namespace: r.namespace, Name: r.name,
				}
			}
			s.wait(n.Name+" to grant "+r.String(), func() bool {
				answer, err := kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review,
					metav1.CreateOptions{})
				return err == nil && answer.Status.Allowed
			})
		}
	}
}

// statusInCluster runs `kvip status` in the container of an agent.
func (s *env) statusInCluster(ctx context.Context, manifest []byte) {
	s.t.Helper()
	holder := s.holder()
	cmd, err := holder.InCluster(ctx, s.kvip, manifest)
	s.must(err)
	cmd.Args = []string{"status"}
	out, diagnostics, err := s.command(holder, cmd)
	if err != nil || !strings.Contains(out, "Holder:    "+holder.Name) {
		s.t.Errorf("kvip status in a pod: %v\n%s%s", err, out, diagnostics)
	}
}

// right is one verb on one resource, or on a path that is no resource.
type right struct{ verb, group, resource, namespace, name, path string }

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s%s %s/%s", r.verb, r.path,
		strings.TrimPrefix(r.resource+"."+r.group, "."), r.namespace, r.name))
}

// covers reports whether r, as printed, allows what was asked for.
func (r right) covers(asked right) bool {
	if r.path != "" {
		prefix, wild := strings.CutSuffix(r.path, "*")
		return r.verb == asked.verb &&
			(r.path == asked.path || wild && strings.HasPrefix(asked.path, prefix))
	}
	named := r.name == "" || r.name == asked.name
	return r.verb == asked.verb && r.group == asked.group && r.resource == asked.resource &&
		r.namespace == asked.namespace && named
}

// rules takes the printed roles apart.
func (s *env) rules(objects []*unstructured.Unstructured) (all []right) {
	s.t.Helper()
	for _, object := range objects {
		var role rbacv1.ClusterRole // as a Role, but for what is not looked at
		if !strings.HasSuffix(object.GetKind(), "Role") {
			continue
		}
		s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role))
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				all = append(all, expand(verb, object.GetNamespace(), rule)...)
			}
		}
	}
	return all
}

func expand(verb, namespace string, rule rbacv1.PolicyRule) (all []right) {
	for _, path := range rule.NonResourceURLs {
		all = append(all, right{verb: verb, path: path})
	}
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, resource := range rule.Resources {
		for _, name := range names {
			all = append(all, right{verb, rule.APIGroups[0], resource, namespace, name, ""})
		}
	}
	return all
}

// audit compares what kvip asked for with what it may.
func (s *env) audit(rights []right) {
	s.t.Helper()
	used := map[right]bool{}
	for _, n := range s.c.Nodes {
		events, err := n.AuditEvents(s.audited[n])
		s.must(err)
		for _, e := range events {
			if e.User.Username != serviceAccount && e.UserAgent != "kvip" {
				continue
			}
			asked := askedFor(e)
			if asked.resource == "selfsubjectaccessreviews" { // everybody may (system:basic-user)
				continue
			}
			if e.ResponseStatus.Code == http.StatusForbidden ||
				e.ResponseStatus.Code == http.StatusUnauthorized {
				s.t.Errorf("%s: refused with %d: %s as %q", n.Name, e.ResponseStatus.Code, asked,
					e.User.Username)
			}
			i := slices.IndexFunc(rights, func(r right) bool { return r.covers(asked) })
			if i < 0 {
				s.t.Fatalf("%s: not among the printed rights: %s", n.Name, asked)
			}
			used[rights[i]] = true
		}
	}
	for _, r := range rights {
		if !used[r] && r != withBGP {
			s.t.Errorf("never used: %s", r)
		}
	}
}

// withBGP is used with --announce=bgp alone (test/e2e/bgp).
var withBGP = right{verb: "create", resource: "events", namespace: "default"}

func askedFor(e cluster.AuditEvent) right {
	if e.ObjectRef == nil {
		path, _, _ := strings.Cut(e.RequestURI, "?")
		return right{verb: e.Verb, path: path}
	}
	o := e.ObjectRef
	resource := strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/")
	return right{e.Verb, o.APIGroup, resource, o.Namespace, o.Name, ""}
}
