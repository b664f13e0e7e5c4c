package services

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// account is who the DaemonSet's agents are.
const account = "system:serviceaccount:kube-system:kvip-services"

// TestRights starts the DaemonSet's agents with a ServiceAccount that may do nothing: they say what
// is forbidden, and go on asking. With the rights that `kvip manifest rbac --services` prints, and
// no others, they do all of their work: no request is refused, and no printed right is without use.
func TestRights(t *testing.T) {
	s := prepareEnv(t)
	rbac, err := servicelab.Objects(s.printed("rbac", "--services"))
	s.must(err)
	isAccount := func(o *unstructured.Unstructured) bool { return o.GetKind() == "ServiceAccount" }
	who := slices.IndexFunc(rbac, isAccount)
	s.must(s.Apply(s.ctx, rbac[who]))
	manifest := s.printed("daemonset", "--services", "--metrics-address=:2112",
		"--health-address=127.0.0.1:2113")
	s.daemonSet()
	began := s.audited()
	for _, n := range s.AllNodes() {
		_, err := n.RunInCluster(s.ctx, s.Kvip, manifest)
		s.must(err)
	}
	for _, n := range s.AllNodes() {
		s.waitLogged(n, "level=WARN", "kind=services", "forbidden")
		s.wait(n.Name+" to say so", func() bool {
			code, body, err := s.LocalPage(n, "/readyz")
			return err == nil && code == http.StatusServiceUnavailable &&
				strings.Contains(string(body), "forbidden")
		})
	}
	s.must(s.Apply(s.ctx, slices.DeleteFunc(slices.Clone(rbac), isAccount)...))
	rights := s.rights(rbac)
	s.granted(rights)
	s.waitSettled(s.AllNodes()...)
	addr := s.create("web")
	s.waitServed(addr, servicelab.Port, s.owner(addr))
	s.useBGP()
	clean := s.audited()
	s.applyManifest(manifest)
	used := s.used(began)
	for _, r := range rights {
		if !slices.ContainsFunc(used, r.covers) && r != fallback {
			t.Errorf("printed, and never used: %+v", r)
		}
	}
	for _, n := range s.Nodes {
		events, err := n.AuditEvents(clean[n])
		s.must(err)
		for _, e := range events {
			if e.User.Username == account && e.ResponseStatus.Code == http.StatusForbidden {
				t.Errorf("%s refused %s %s", n.Name, e.Verb, e.RequestURI)
			}
		}
	}
}

// applyManifest has agents do everything that they can need a right for.
func (s *env) applyManifest(manifest []byte) {
	s.t.Helper()
	const vip = "10.77.0.200"
	s.must(s.Addresses(s.ctx, "main", pool4, vip))
	addr := s.create("other")
	n := s.owner(addr)
	s.event("Service", "other", "Allocated")
	s.must(s.Create(s.ctx, "wrong", servicelab.Annotate("kvip.dev/addresses", "x")))
	s.event("Service", "wrong", "Malformed")
	s.waitPoolStatus("main", func(p v1alpha1.IPPoolStatus) bool { return p.Used == 2 })
	command, err := n.InCluster(s.ctx, s.Kvip, manifest)
	s.must(err)
	command.Args = []string{"status", "service", "other"}
	if out := s.command(n, command); !servicelab.ContainsAll(out, addr.String(), "announced by "+
		n.Name) {
		s.t.Errorf("kvip status service in a pod: %s", out)
	}
	s.must(s.Delete(s.ctx, "other"))
	s.waitNoOwner(addr)
	s.must(s.Kube.AppsV1().DaemonSets(metav1.NamespaceSystem).Delete(s.ctx, "kvip-services",
		metav1.DeleteOptions{}))
	s.must(n.Agent().Terminate(patience))
	s.nothingLeft(n)
}

// printed runs `kvip manifest` and returns what it printed.
func (s *env) printed(args ...string) []byte {
	s.t.Helper()
	out, err := exec.Command(s.Kvip, append([]string{"manifest"}, args...)...).Output()
	s.must(err)
	return out
}

func (s *env) audited() map[*cluster.Node]int64 {
	lengths := map[*cluster.Node]int64{}
	for _, n := range s.Nodes {
		lengths[n] = n.AuditOffset()
	}
	return lengths
}

// right is one verb on one resource.
type right struct{ verb, group, resource, namespace, name string }

// fallback is used where something else than these rights forbids to patch.
var fallback = right{verb: "update", resource: "services/status"}

func (r right) covers(asked right) bool {
	named := r.name == "" || r.name == asked.name
	spaced := r.namespace == "" || r.namespace == asked.namespace
	return r.verb == asked.verb && r.group == asked.group && r.resource == asked.resource && named &&
		spaced
}

// rights takes the printed roles apart.
func (s *env) rights(objects []*unstructured.Unstructured) (all []right) {
	s.t.Helper()
	for _, object := range objects {
		var role rbacv1.ClusterRole // as a Role, but for what is not looked at
		if !strings.HasSuffix(object.GetKind(), "Role") {
			continue
		}
		s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role))
		for _, rule := range role.Rules {
			all = append(all, expand(rule, object.GetNamespace())...)
		}
	}
	return all
}

func expand(rule rbacv1.PolicyRule, namespace string) (all []right) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, verb := range rule.Verbs {
		for _, resource := range rule.Resources {
			for _, name := range names {
				all = append(all, right{verb, rule.APIGroups[0], resource, namespace, name})
			}
		}
	}
	return all
}

// used are all requests that were granted to the agents.
func (s *env) used(since map[*cluster.Node]int64) (all []right) {
	s.t.Helper()
	for _, n := range s.Nodes {
		events, err := n.AuditEvents(since[n])
		s.must(err)
		for _, e := range events {
			if o := e.ObjectRef; o != nil && e.User.Username == account &&
				e.ResponseStatus.Code != http.StatusForbidden {
				r := right{e.Verb, o.APIGroup, strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/"),
					o.Namespace, o.Name}
				all = append(all, r)
				// where a server does not know that, it is asked for a list
				if strings.Contains(e.RequestURI, "sendInitialEvents=true") {
					r.verb = "list"
					all = append(all, r)
				}
			}
		}
	}
	return all
}

// granted waits until every API server knows of the rights: each learns of them by a watch.
func (s *env) granted(rights []right) {
	s.t.Helper()
	for _, n := range s.Nodes {
		kube, err := s.Cluster.Kube(n)
		s.must(err)
		for _, r := range rights {
			resource, sub, _ := strings.Cut(r.resource, "/")
			review := &authorizationv1.SubjectAccessReview{}
			review.Spec.User = account
			review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
				Verb: r.verb, Group: r.group, Resource: resource, Subresource: sub, Namespace: r.namespace,
				Name: r.name,
			}
			s.wait(n.Name+" to grant a right", func() bool {
				answer, err := kube.AuthorizationV1().SubjectAccessReviews().Create(s.ctx, review,
					metav1.CreateOptions{})
				return err == nil && answer.Status.Allowed
			})
		}
	}
}

// useBGP makes a peer that refuses connections, and an advertisement, and waits until the agents
// and the allocator have reported on both.
func (s *env) useBGP() {
	s.t.Helper()
	s.must(s.ApplyObject(s.ctx, v1alpha1.BGPPeerPlural, "refuses", []byte(`{
		"apiVersion": "kvip.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "refuses"},
		"spec": {"myASN": 65010, "peerASN": 65000, "peerAddress": "10.77.0.14"}}`)))
	s.must(s.ApplyObject(s.ctx, v1alpha1.BGPAdvertisementPlural, "all", []byte(`{
		"apiVersion": "kvip.dev/v1alpha1", "kind": "BGPAdvertisement", "metadata": {"name": "all"},
		"spec": {}}`)))
	status := func(plural, name string, fields ...string) bool {
		resource := v1alpha1.GroupVersion().WithResource(plural)
		o, err := s.Dynamic.Resource(resource).Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		_, found, err := unstructured.NestedFieldNoCopy(o.Object, fields...)
		return found && err == nil
	}
	for _, n := range s.AllNodes() {
		s.wait(n.Name+" to publish its sessions", func() bool {
			return status(v1alpha1.BGPNodeStatePlural, n.Name, "status", "sessions")
		})
	}
	s.wait("the peer's sessions to be counted", func() bool {
		return status(v1alpha1.BGPPeerPlural, "refuses", "status", "sessions")
	})
	s.wait("the advertisement's condition", func() bool {
		return status(v1alpha1.BGPAdvertisementPlural, "all", "status", "conditions")
	})
}
