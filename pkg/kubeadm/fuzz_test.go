package kubeadm

import (
	"bytes"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

// FuzzEdit: whatever file is accepted, an edit only adds bytes, leaves the values of other fields
// and the bytes of other documents as they were, and a second one changes nothing.
func FuzzEdit(f *testing.F) {
	five, err := os.ReadFile("testdata/five.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(five, "192.0.2.10")
	for _, text := range []string{
		clusterHead, tokenHead, initHead, clusterHead + "apiServer: {certSANs: [a, 'b']}\r\n",
		clusterHead + "apiServer: &a\n  certSANs: &b\n  - &c \"d\"\n",
		"---\n{\"kind\": \"ClusterConfiguration\", \"apiVersion\": \"kubeadm.k8s.io/v1beta3\"}",
		clusterHead + "controlPlaneEndpoint: ''\napiServer:\n---\n---\nkind: " +
			"KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n---\n",
		clusterHead +
			"apiServer:\n    # c\n    extraVolumes: [{name: |\n  x\n  , hostPath: y, mountPath: z}]\n",
	} {
		f.Add([]byte(text), "2001:db8::10")
	}
	f.Fuzz(func(t *testing.T, data []byte, vip string) {
		before, err := Parse("kubeadm.yaml", data)
		addr, bad := netip.ParseAddr(vip)
		if err != nil || bad != nil {
			return
		}
		r := Request{VIPs: []netip.Addr{addr}}
		if plan, err := before.PlanInit(r); err == nil {
			checkEdit(t, before, plan.Data, clusterKind)
			again, err := mustParse(t, plan.Data).PlanInit(r)
			if err != nil || !bytes.Equal(again.Data, plan.Data) {
				t.Fatalf("a second init: %v\n%s", err, again.Data)
			}
		}
		if plan, err := before.PlanJoin(r); err == nil {
			checkEdit(t, before, plan.Data, joinKind)
			again, err := mustParse(t, plan.Data).PlanJoin(r)
			if err != nil || !bytes.Equal(again.Data, plan.Data) {
				t.Fatalf("a second join: %v\n%s", err, again.Data)
			}
		}
	})
}

func mustParse(t *testing.T, data []byte) *File {
	t.Helper()
	file, err := Parse("kubeadm.yaml", data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	return file
}

// checkEdit compares an edited file with the one before.
func checkEdit(t *testing.T, before *File, data []byte, kind string) {
	t.Helper()
	after := mustParse(t, data)
	for i, d := range before.docs {
		e := after.docs[i]
		if d.kind != kind || !strings.HasPrefix(d.version, group) {
			if !bytes.Equal(before.data[d.start:d.end], data[e.start:e.end]) && i+1 < len(before.docs) {
				t.Fatalf("document %d changed in\n%s", d.number, data)
			}
			continue
		}
		for _, v := range []map[string]any{d.values, e.values} {
			forget(v, "controlPlaneEndpoint")
			forget(v, "apiServer", "certSANs")
			forget(v, "discovery", "bootstrapToken", "apiServerEndpoint")
		}
		if !reflect.DeepEqual(d.values, e.values) {
			t.Fatalf("values %v became %v", d.values, e.values)
		}
	}
}

// forget removes a field, and what is empty without it.
func forget(v map[string]any, path ...string) {
	if len(path) > 1 {
		child, ok := v[path[0]].(map[string]any)
		if ok {
			forget(child, path[1:]...)
		}
		if ok && len(child) > 0 {
			return
		}
	}
	if len(path) == 1 || v[path[0]] == nil || len(v[path[0]].(map[string]any)) == 0 {
		delete(v, path[0])
	}
}
