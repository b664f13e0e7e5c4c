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

// TestKubeVIPDaemonSet runs kvip in kube-vip's DaemonSet, with another image and nothing else: with
// its environment, its ServiceAccount and its rights (S9). Each right and each setting that is
// missing is named once, and Services are served as before: by annotations that need no pool, two
// at one address.
func TestKubeVIPDaemonSet(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.DeletePool(s.ctx, "main"))
	manifest, err := os.ReadFile("testdata/kube-vip.yaml")
	s.must(err)
	objects, err := servicelab.Objects(manifest)
	s.must(err)
	set := objects[len(objects)-1]
	s.must(s.Apply(s.ctx, objects...))
	t.Cleanup(func() {
		if err := s.Remove(background, objects...); err != nil {
			t.Error(err)
		}
	})
	pod, err := yaml.Marshal(set)
	s.must(err)
	for _, n := range s.Workers {
		_, err := n.RunInCluster(s.ctx, s.Kvip, pod)
		s.must(err)
	}
	s.waitSettled(s.Workers...)
	const address = "kube-vip.io/loadbalancerIPs"
	for name, port := range map[string]int32{"one": servicelab.Port, "two": otherPort} {
		s.must(s.Create(s.ctx, name, servicelab.Annotate(address, "10.77.0.240"), servicelab.Ports(port)))
		s.expect(name, "10.77.0.240")
	}
	n := s.owner(ip("10.77.0.240"))
	s.waitServed(ip("10.77.0.240"), servicelab.Port, n)
	s.waitServed(ip("10.77.0.240"), otherPort, n)
	// kube-vip announces it on vip_interface
	s.must(s.Create(s.ctx, "routed", servicelab.Annotate(address, "203.0.113.5")))
	s.expect("routed", "203.0.113.5")
	s.owner(ip("203.0.113.5"))
	s.must(s.Create(s.ctx, "dhcp", servicelab.Annotate(address, "0.0.0.0")))
	s.waitCondition("dhcp", "Malformed", address, "DHCP")
	s.must(s.Create(s.ctx, "egress", servicelab.Annotate("kube-vip.io/egress", "true"),
		servicelab.Annotate(address, "10.77.0.241")))
	s.waitCondition("egress", "Allocated", "10.77.0.241", "kube-vip.io/egress")
	for _, row := range []struct {
		words []string
		want  int
	}{
		{[]string{`permission="patch services/status"`}, 1},
		{[]string{`permission="create events"`}, 1},
		{[]string{"setting=svc_election"}, len(s.Workers)},
		{[]string{`kind="configmap kube-system/kubevip"`, "forbidden"}, len(s.Workers)},
	} {
		count := 0
		for _, n := range s.Workers {
			count += s.countLogged(n, row.words...)
		}
		if count != row.want {
			t.Errorf("%q is logged %d times, want %d", row.words, count, row.want)
		}
	}
	lock, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.ctx, svcsLock,
		metav1.GetOptions{})
	s.must(err)
	if lock.Spec.HolderIdentity == nil || !strings.HasPrefix(*lock.Spec.HolderIdentity, "w") {
		t.Errorf("%s is held by %v", svcsLock, lock.Spec.HolderIdentity)
	}
	s.must(s.Delete(s.ctx, "one"))
	s.must(s.Change(s.ctx, "two", servicelab.Annotate(address, "10.77.0.242")))
	s.expect("two", "10.77.0.242")
	s.waitNoOwner(ip("10.77.0.240"))
}

// TestKubeVIPStaticPod runs kvip with the environment of kube-vip's static pod, which holds the
// control plane's address and serves Services.
func TestKubeVIPStaticPod(t *testing.T) {
	s := prepareEnv(t)
	const vip = "10.77.0.100"
	env := []string{"cp_enable=true", "svc_enable=true", "vip_arp=true", "vip_leaderelection=true",
		"address=" + vip, "vip_interface=eth0",
		"vip_servicesinterface=auto", "port=6443"}
	for _, n := range s.Nodes {
		_, err := n.RunKvip(s.Kvip, []string{"manager"}, env)
		s.must(err)
	}
	s.wait("the control plane's address",
		func() bool { return len(s.Holders(ip(vip))) == 1 && s.listens(ip(vip), cluster.Port) })
	s.waitSettled(s.Nodes...)
	addr := s.create("web")
	s.waitServed(addr, servicelab.Port, s.owner(addr))
	// in no subnet: vip_interface
	s.must(s.Create(s.ctx, "routed",
		servicelab.Annotate("kube-vip.io/loadbalancerIPs", "203.0.113.5")))
	s.expect("routed", "203.0.113.5")
	s.owner(ip("203.0.113.5"))
	for _, name := range []string{"plndr-cp-lock", svcsLock} {
		_, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.ctx, name,
			metav1.GetOptions{})
		s.must(err)
	}
}

// TestForeignHolder has another program hold kube-vip's lease for Services: kvip announces nothing
// and writes nothing as long as that renews it, and takes over when it has been silent for its
// duration (S9).
func TestForeignHolder(t *testing.T) {
	s := prepareEnv(t)
	leases := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem)
	holder, seconds, now := "kube-vip-1", int32(15), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: svcsLock, Namespace: metav1.NamespaceSystem},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds,
			RenewTime: &now},
	}
	lease, err := leases.Create(s.ctx, lease, metav1.CreateOptions{})
	s.must(err)
	s.must(s.Create(s.ctx, "web"))
	s.must(s.StartAgents(s.Nodes, "--kube-vip", "--services-name="+svcsLock))
	for range 18 { // longer than the lease lasts: the length is the test's subject
		now := metav1.NowMicro()
		lease.Spec.RenewTime = &now
		lease, err = leases.Update(s.ctx, lease, metav1.UpdateOptions{})
		s.must(err)
		time.Sleep(time.Second)
	}
	for _, n := range s.Nodes {
		s.waitLogged(n, "another program announces Services", holder)
	}
	s.expect("web")
	if c := s.condition("web"); c != nil {
		t.Errorf("kvip wrote %+v", c)
	}
	addr := s.addresses("web", 1)[0] // it is silent now
	s.waitServed(addr, servicelab.Port, s.owner(addr))
}

// TestCloudProviderConfigMap gives out addresses of the ConfigMap that kube-vip's cloud provider
// reads, without a change to it. A wrong value is reported, and affects no other.
func TestCloudProviderConfigMap(t *testing.T) {
	s := newSingleEnv(t)
	s.must(s.DeletePool(s.ctx, "main"))
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kubevip",
		Namespace: metav1.NamespaceSystem}, Data: map[string]string{
		"cidr-global": "10.77.0.160/30", "skip-end-ips-in-cidr": "true",
		"cidr-shop": "10.77.0.168/29", "allow-share-shop": "true",
		"cidr-broken": "banana",
	}}
	maps := s.Kube.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	config, err := maps.Create(s.ctx, config, metav1.CreateOptions{})
	s.must(err)
	for _, row := range []struct {
		name, want string
		port       int32
	}{
		{"a", "10.77.0.161", 80}, {"b", "10.77.0.162", 80},
	} {
		s.must(s.Create(s.ctx, row.name, servicelab.Ports(row.port)))
		s.expect(row.name, row.want)
	}
	s.must(s.Create(s.ctx, "c"))
	s.waitCondition("c", "PoolExhausted")
	s.event("ConfigMap", "kubevip", "Malformed", "cidr-broken", "banana")
	config.Data["search-order"] = "desc"
	config.Data["cidr-global"] = "10.77.0.160/29"
	_, err = maps.Update(s.ctx, config, metav1.UpdateOptions{})
	s.must(err)
	s.expect("c", "10.77.0.166")
	for name, port := range map[string]int32{"shop/a": 80, "shop/b": 81} {
		s.must(s.Create(s.ctx, name, servicelab.Ports(port)))
		s.expect(name, "10.77.0.174")
	}
	s.must(maps.Delete(s.ctx, "kubevip", metav1.DeleteOptions{}))
	s.must(s.Create(s.ctx, "d"))
	s.waitCondition("d", "NoPool")
	s.expect("a", "10.77.0.161")
	s.waitServed(ip("10.77.0.166"), servicelab.Port, s.Nodes[0])
}
