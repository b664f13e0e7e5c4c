package migrate

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// TestNoPasswordIsWritten to the manifest, to a note or to an error.
func TestNoPasswordIsWritten(t *testing.T) {
	for _, name := range []string{"bgp-pod.yaml", "bgp-daemonset.yaml"} {
		text := sample(t, name)
		if !strings.Contains(text, "s3cret") {
			t.Fatalf("%s has no password", name)
		}
		for _, change := range [][2]string{{"", ""}, {":s3cret", ":s3cret:s3cret"},
			{":s3cret", ":,s3cret"}, {":s3cret", ":::s3cret"}} {
			out, notes, err := Migrate("f", []byte(strings.Replace(text, change[0], change[1], 1)), image)
			if all := fmt.Sprint(string(out), notes, err); strings.Contains(all, "s3cret") {
				t.Errorf("%s with %q: %s", name, change, all)
			}
		}
	}
}

// TestServicesByBGPNeedObjects: the output has the definitions, a BGPPeer for each router, and an
// advertisement, before the DaemonSet.
func TestServicesByBGPNeedObjects(t *testing.T) {
	out, _, err := Migrate("f", []byte(sample(t, "bgp-daemonset.yaml")), image)
	if err != nil {
		t.Fatal(err)
	}
	kinds := documents(t, out)
	count := func(kind string) (n int) {
		for _, k := range kinds {
			if k == kind {
				n++
			}
		}
		return n
	}
	if count("CustomResourceDefinition") != 5 || count(v1alpha1.BGPPeerKind) != 3 ||
		count(v1alpha1.BFDProfileKind) != 1 || count(v1alpha1.BGPAdvertisementKind) != 1 ||
		kinds[len(kinds)-1] != "DaemonSet" {
		t.Errorf("%v", kinds)
	}
	var objects bytes.Buffer
	for document := range bytes.SplitSeq(out, []byte("---\n")) {
		if bytes.HasPrefix(document, []byte("apiVersion: "+v1alpha1.Group+"/")) {
			objects.WriteString("---\n")
			objects.Write(document)
		}
	}
	const golden = "testdata/bgp-daemonset.objects"
	if *update {
		if err := os.WriteFile(golden, objects.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := sample(t, "bgp-daemonset.objects"); objects.String() != want { // hack/crd validates it
		t.Errorf("got\n%s\nwant\n%s", objects.String(), want)
	}
	if strings.Contains(string(out), "--kube-vip") ||
		strings.Contains(string(out), "--bgp-router-id") {
		t.Errorf("arguments in\n%s", workloadOnly(out))
	}
}

// TestDocumentsOfNextHops are YAML of the objects that --bgp-config takes.
func TestDocumentsOfNextHops(t *testing.T) {
	out, notes, err := Migrate("f", []byte(sample(t, "bgp-nexthops.yaml")), image)
	if err != nil || !bytes.Contains(out, []byte("--bgp-config="+nextHopFile)) ||
		bytes.Contains(out, []byte("--bgp-peer=")) {
		t.Fatalf("%v\n%s", err, out)
	}
	var kinds []string
	for _, n := range notes {
		_, text, found := strings.Cut(n.Text, "---: ")
		if n.Name != "mpbgp_nexthop" || !found {
			continue
		}
		var head struct{ Kind string }
		var peer v1alpha1.BGPPeer
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatal(err)
		}
		if kinds = append(kinds, head.Kind); head.Kind != v1alpha1.BGPPeerKind {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(text), &peer); err != nil ||
			peer.Spec.NextHops.IPv6 != "2001:db8::11" || peer.Spec.BFDProfile != "bfd-100ms-3" ||
			!peer.Spec.EBGPMultiHop || !peer.Spec.DualStackAddressFamily {
			t.Errorf("%v in %s", err, text)
		}
	}
	if !slices.Equal(kinds, []string{v1alpha1.BFDProfileKind, v1alpha1.BGPPeerKind}) {
		t.Errorf("documents %v in %v", kinds, notes)
	}
}

// TestBGPOfAManifestIsRefused by name, where no output would announce what kube-vip did.
func TestBGPOfAManifestIsRefused(t *testing.T) {
	pod, set := sample(t, "bgp-pod.yaml"), sample(t, "bgp-daemonset.yaml")
	for _, row := range []struct{ name, text, from, to, says string }{
		{"Services in a static pod", pod, "cp_namespace, value: kube-system", "svc_enable, value: 'true'",
			"svc_enable: with BGP, Services need BGPPeers"},
		{"a reserved AS number of an object", set, "eth1:65001", "eth1:65535", "65535 is reserved"},
		{"a link-local router of an object", set, "192.0.2.1:65000", "[fe80::1%eth3]:65000",
			"write unnumbered:eth3"},
		{"a peer's list from the cluster", pod, "bgp_peeraddress, value: 192.0.2.3",
			"bgp_sourceif, valueFrom: {configMapKeyRef: {name: a, key: b}}", "is known in the cluster only"},
	} {
		if !strings.Contains(row.text, row.from) {
			t.Fatalf("%s: the sample has no %q", row.name, row.from)
		}
		out, _, err := Migrate("f", []byte(strings.Replace(row.text, row.from, row.to, 1)), image)
		if err == nil || !strings.Contains(err.Error(), row.says) || out != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
