package services

import (
	"os"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// svcsLock is the Lease of kube-vip's leader for Services.
const svcsLock = "plndr-svcs-lock"

// TestKubeVIPDaemonSet runs kvip in kube-vip's DaemonSet, with another image and nothing else: with its environment, its
// ServiceAccount and its rights (S9). Each right and each setting that is missing is named once, and Services are
// served as before: by annotations that need no pool, two at one address.
func TestKubeVIPDaemonSet(t *testing.T) {
	s := prepare(t)
	s.ok(s.DeletePool(s.ctx, "main"))
	manifest, err := os.ReadFile("testdata/kube-vip.yaml")
	s.ok(err)
	objects, err := servicelab.Objects(manifest)
	s.ok(err)
	set := objects[len(objects)-1]
	s.ok(s.Apply(s.ctx, objects...))
	t.Cleanup(func() {
		if err := s.Remove(background, objects...); err != nil {
			t.Error(err)
		}
	})
	pod, err := yaml.Marshal(set)
	s.ok(err)
	for _, n := range s.Workers {
		_, err := n.RunInCluster(s.ctx, s.Kvip, pod)
		s.ok(err)
	}
	s.settle(s.Workers...)
	const address = "kube-vip.io/loadbalancerIPs"
	for name, port := range map[string]int32{"one": servicelab.Port, "two": otherPort} {
		s.ok(s.Create(s.ctx, name, servicelab.Annotate(address, "10.77.0.240"), servicelab.Ports(port)))
		s.expect(name, "10.77.0.240")
	}
	n := s.owner(ip("10.77.0.240"))
	s.served(ip("10.77.0.240"), servicelab.Port, n)
	s.served(ip("10.77.0.240"), otherPort, n)
	s.ok(s.Create(s.ctx, "routed", servicelab.Annotate(address, "203.0.113.5"))) // kube-vip announces it on vip_interface
	s.expect("routed", "203.0.113.5")
	s.owner(ip("203.0.113.5"))
	s.ok(s.Create(s.ctx, "dhcp", servicelab.Annotate(address, "0.0.0.0")))
	s.told("dhcp", "Malformed", address, "DHCP")
	s.ok(s.Create(s.ctx, "egress", servicelab.Annotate("kube-vip.io/egress", "true"), servicelab.Annotate(address, "10.77.0.241")))
	s.told("egress", "Allocated", "10.77.0.241", "kube-vip.io/egress")
	for _, row := range []struct {
		words []string
		want  int
	}{
		{[]string{"a right is missing: patch services/status"}, 1},
		{[]string{"a right is missing: create events"}, 1},
		{[]string{"setting=svc_election"}, len(s.Workers)},
		{[]string{`kind="configmap kube-system/kubevip"`, "forbidden"}, len(s.Workers)},
	} {
		count := 0
		for _, n := range s.Workers {
			count += s.logged(n, row.words...)
		}
		if count != row.want {
			t.Errorf("%q is logged %d times, want %d", row.words, count, row.want)
		}
	}
	lock, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.ctx, svcsLock, metav1.GetOptions{})
	s.ok(err)
	if lock.Spec.HolderIdentity == nil || !strings.HasPrefix(*lock.Spec.HolderIdentity, "w") {
		t.Errorf("%s is held by %v", svcsLock, lock.Spec.HolderIdentity)
	}
	s.ok(s.Delete(s.ctx, "one"))
	s.ok(s.Change(s.ctx, "two", servicelab.Annotate(address, "10.77.0.242")))
	s.expect("two", "10.77.0.242")
	s.nowhere(ip("10.77.0.240"))
}

// TestKubeVIPStaticPod runs kvip with the environment of kube-vip's static pod, which holds the control
// plane's address and serves Services.
func TestKubeVIPStaticPod(t *testing.T) {
	s := prepare(t)
	const vip = "10.77.0.100"
	env := []string{"cp_enable=true", "svc_enable=true", "vip_arp=true", "vip_leaderelection=true", "address=" + vip, "vip_interface=eth0",
		"vip_servicesinterface=auto", "port=6443"}
	for _, n := range s.Nodes {
		_, err := n.RunKvip(s.Kvip, []string{"manager"}, env)
		s.ok(err)
	}
	s.wait("the control plane's address", func() bool { return len(s.Holders(ip(vip))) == 1 && s.listens(ip(vip), cluster.Port) })
	s.settle(s.Nodes...)
	addr := s.create("web")
	s.served(addr, servicelab.Port, s.owner(addr))
	s.ok(s.Create(s.ctx, "routed", servicelab.Annotate("kube-vip.io/loadbalancerIPs", "203.0.113.5"))) // in no subnet: vip_interface
	s.expect("routed", "203.0.113.5")
	s.owner(ip("203.0.113.5"))
	for _, name := range []string{"plndr-cp-lock", svcsLock} {
		_, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.ctx, name, metav1.GetOptions{})
		s.ok(err)
	}
}

// TestForeignHolder has another program hold kube-vip's lease for Services: kvip announces nothing and writes
// nothing as long as that renews it, and takes over when it has been silent for its duration (S9).
func TestForeignHolder(t *testing.T) {
	s := prepare(t)
	leases := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem)
	holder, seconds, now := "kube-vip-1", int32(15), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: svcsLock, Namespace: metav1.NamespaceSystem},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	lease, err := leases.Create(s.ctx, lease, metav1.CreateOptions{})
	s.ok(err)
	s.ok(s.Create(s.ctx, "web"))
	s.ok(s.StartAgents(s.Nodes, "--kube-vip", "--services-name="+svcsLock))
	for range 18 { // longer than the lease lasts: the length is the test's subject
		now := metav1.NowMicro()
		lease.Spec.RenewTime = &now
		lease, err = leases.Update(s.ctx, lease, metav1.UpdateOptions{})
		s.ok(err)
		time.Sleep(time.Second)
	}
	for _, n := range s.Nodes {
		s.logs(n, "another program announces Services", holder)
	}
	s.expect("web")
	if c := s.condition("web"); c != nil {
		t.Errorf("kvip wrote %+v", c)
	}
	addr := s.addresses("web", 1)[0] // it is silent now
	s.served(addr, servicelab.Port, s.owner(addr))
}

// TestCloudProviderConfigMap gives out addresses of the ConfigMap that kube-vip's cloud provider reads, without a change to it. A
// value that is wrong is told, and spoils no other.
func TestCloudProviderConfigMap(t *testing.T) {
	s := alone(t)
	s.ok(s.DeletePool(s.ctx, "main"))
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kubevip", Namespace: metav1.NamespaceSystem}, Data: map[string]string{
		"cidr-global": "10.77.0.160/30", "skip-end-ips-in-cidr": "true",
		"cidr-shop": "10.77.0.168/29", "allow-share-shop": "true",
		"cidr-broken": "banana",
	}}
	maps := s.Kube.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	config, err := maps.Create(s.ctx, config, metav1.CreateOptions{})
	s.ok(err)
	for _, row := range []struct {
		name, want string
		port       int32
	}{
		{"a", "10.77.0.161", 80}, {"b", "10.77.0.162", 80},
	} {
		s.ok(s.Create(s.ctx, row.name, servicelab.Ports(row.port)))
		s.expect(row.name, row.want)
	}
	s.ok(s.Create(s.ctx, "c"))
	s.told("c", "PoolExhausted")
	s.event("ConfigMap", "kubevip", "Malformed", "cidr-broken", "banana")
	config.Data["search-order"] = "desc"
	config.Data["cidr-global"] = "10.77.0.160/29"
	_, err = maps.Update(s.ctx, config, metav1.UpdateOptions{})
	s.ok(err)
	s.expect("c", "10.77.0.166")
	for name, port := range map[string]int32{"shop/a": 80, "shop/b": 81} {
		s.ok(s.Create(s.ctx, name, servicelab.Ports(port)))
		s.expect(name, "10.77.0.174")
	}
	s.ok(maps.Delete(s.ctx, "kubevip", metav1.DeleteOptions{}))
	s.ok(s.Create(s.ctx, "d"))
	s.told("d", "NoPool")
	s.expect("a", "10.77.0.161")
	s.served(ip("10.77.0.166"), servicelab.Port, s.Nodes[0])
}
