package metallb

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
)

var update = flag.Bool("update", false,
	"rewrite the golden files and the table of the page; commit them only if you understand the "+
		"difference")

var samples = []string{"layer2", "bgp", "mixed"}

func sample(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGolden compares notes and objects for each sample. hack/crd validates the objects.
func TestGolden(t *testing.T) {
	for _, name := range samples {
		out, notes, err := Migrate(name+".yaml", []byte(sample(t, name+".yaml")))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, n := range notes {
			got.WriteString("# " + n.String() + "\n")
		}
		got.Write(out)
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := sample(t, name+".golden"); got.String() != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.String(), want)
		}
	}
}

// TestOutputIsStable: notes and objects do not depend on the order of a map, and JSON gives the
// same.
func TestOutputIsStable(t *testing.T) {
	text := []byte(sample(t, "bgp.yaml"))
	first, notes, err := Migrate("f", text)
	if err != nil {
		t.Fatal(err)
	}
	converted, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if i == 5 {
			text = converted
		}
		again, same, err := Migrate("f", text)
		if err != nil || !bytes.Equal(again, first) || !slices.Equal(same, notes) {
			t.Fatalf("another result for the same input: %v, %v", err, same)
		}
	}
}

// TestNoPasswordIsWritten, whatever is wrong with the object.
func TestNoPasswordIsWritten(t *testing.T) {
	text := sample(t, "bgp.yaml")
	for _, change := range []string{"password: s3cret", "password: [s3cret]",
		"password: {s3cret: s3cret}", "password: s3cret\n    passwordSecret: {name: a}",
		"password: s3cret\n    vrf: red"} {
		out, notes, err := Migrate("f", []byte(strings.Replace(text, "password: s3cret", change, 1)))
		if all := fmt.Sprint(string(out), notes, err); strings.Contains(all, "s3cret") {
			t.Errorf("%q: %s", change, all)
		}
	}
}

// manifestOf is one object, and what it needs to be translated.
func manifestOf(kind, spec string) string {
	version := "v1beta1"
	if kind == kindPeer {
		version = "v1beta2"
	}
	text := fmt.Sprintf("apiVersion: metallb.io/%s\nkind: %s\nmetadata: {name: a}\nspec: {%s}\n",
		version, kind, spec)
	if kind == kindPool {
		text += "---\napiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {name: all}\n"
	}
	return text
}

// TestRefused names object and field of what has no counterpart or is not valid.
func TestRefused(t *testing.T) {
	const peer = "myASN: 64512, peerASN: 64601, peerAddress: 192.0.2.1"
	for _, row := range []struct{ kind, spec, field, says string }{
		{kindPool, "addresses: []", "spec.addresses", "0 entries"},
		{kindPool, "addresses: [192.0.2.0/33]", "spec.addresses", "192.0.2.0/33"},
		{kindPool, "addresses: [192.0.2.9-192.0.2.1]", "spec.addresses", "above the last"},
		{kindPool, "addresses: [127.0.0.0/8]", "spec.addresses", "not for hosts"},
		{kindPool, "addresses: [192.0.2.0/24, 192.0.2.7/32]", "spec.addresses", "overlaps"},
		{kindPool, "addresses: 192.0.2.0/24", "spec.addresses", "another type"},
		{kindPool, "addresses: [192.0.2.0/24], autoAssign: maybe", "spec.autoAssign", "another type"},
		{kindPool, "addresses: [192.0.2.0/24], serviceAllocation: {priority: 50}",
			"spec.serviceAllocation.priority", "no other order"},
		{kindPool, "addresses: [192.0.2.0/24], serviceAllocation: {namespaceSelectors: [{}]}",
			"spec.serviceAllocation.namespaceSelectors", "list of namespaces"},
		{kindPool, "addresses: [192.0.2.0/24], serviceAllocation: {serviceSelectors: [{}]}",
			"spec.serviceAllocation.serviceSelectors", "kvip.dev/pool"},
		{kindPool, "addresses: [192.0.2.0/24], serviceAllocation: {namespaces: [A]}",
			"spec.serviceAllocation.namespaces", `"A"`},
		{kindPool, "addresses: [192.0.2.0/24], serviceAllocation: {namespaces: [a.b]}",
			"spec.serviceAllocation.namespaces", `"a.b"`},
		{kindPool, "addresses: [192.0.2.0/24], invented: 1", "spec.invented", "does not know"},
		{kindPool, "addresses: [192.0.2.0/24], Addresses: [a]", "spec.Addresses", "does not know"},
		{kindL2, "nodeSelectors: [{}]", "spec.nodeSelectors", "exclude-from-external"},
		{kindL2, "serviceSelectors: [{}]", "spec.serviceSelectors", "of their own"},
		{kindL2, "interfaces: [eth0, eth1]", "spec.interfaces", "one --services-interface"},
		{kindL2, "interfaces: [a/b]", "spec.interfaces", "a/b"},
		{kindL2, "ipAddressPoolSelectors: [{matchExpressions: [{key: a, operator: X}]}]",
			"spec.ipAddressPoolSelectors", "entry 1"},
		{kindBGP, "communities: [vpn]", "spec.communities", "no Community of the input"},
		{kindBGP, "communities: ['65536:1']", "spec.communities", "16 bits"},
		{kindBGP, "communities: ['large:1:2']", "spec.communities", "not a community"},
		{kindBGP, "localPref: -1", "spec.localPref", "-1"},
		{kindBGP, "localPref: 4294967296", "spec.localPref", "4294967296"},
		{kindBGP, "aggregationLength: 33", "spec.aggregationLength", "33"},
		{kindBGP, "aggregationLengthV6: 0", "spec.aggregationLengthV6", "0 is not"},
		{kindBGP, "peers: ['a b']", "spec.peers", "a b"},
		{kindBGP, "nodeSelectors: [{matchLabel: {a: b}}]", "spec", "matchLabel"},
		{kindPeer, peer + ", vrf: red", "spec.vrf", "default VRF"},
		{kindPeer, "peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN", "missing"},
		{kindPeer, "myASN: 23456, peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN", "reserved"},
		{kindPeer, "myASN: 1, peerAddress: 192.0.2.1", "spec.peerASN", "exactly one"},
		{kindPeer, "myASN: 1, dynamicASN: any, peerAddress: 192.0.2.1", "spec.dynamicASN", `"any"`},
		{kindPeer, "myASN: 1, peerASN: 2", "spec.peerAddress", "exactly one"},
		{kindPeer, "myASN: 1, peerASN: 2, interface: a b", "spec.interface", "a b"},
		{kindPeer, "myASN: 1, peerASN: 2, peerAddress: router", "spec.peerAddress", "router"},
		{kindPeer, "myASN: 1, peerASN: 2, peerAddress: 'fe80::1'", "spec.peerAddress", "link-local"},
		{kindPeer, "myASN: 1, peerASN: 2, peerAddress: 224.0.0.1", "spec.peerAddress", "of a host"},
		{kindPeer, peer + ", sourceAddress: '2001:db8::1'", "spec.sourceAddress", "family"},
		{kindPeer, peer + ", sourceAddress: 192.0.2.1", "spec.sourceAddress", "is peerAddress"},
		{kindPeer, peer + ", peerPort: 65536", "spec.peerPort", "65536"},
		{kindPeer, peer + ", peerPort: bgp", "spec.peerPort", "another type"},
		{kindPeer, peer + ", holdTime: 0s", "spec.holdTime", "0s"},
		{kindPeer, peer + ", holdTime: 2500ms", "spec.holdTime", "whole seconds"},
		{kindPeer, peer + ", connectTime: 20h", "spec.connectTime", "20h"},
		{kindPeer, peer + ", routerID: '::1'", "spec.routerID", "::1"},
		{kindPeer, peer + ", password: a, passwordSecret: {name: b}", "spec.password", "together"},
		{kindPeer, peer + ", passwordSecret: {name: A}", "spec.passwordSecret.name", `"A"`},
		{kindPeer, peer + ", bfdProfile: A", "spec.bfdProfile", `"A"`},
		{kindPeer, "myASN: 1, peerASN: 2, interface: eth0, ebgpMultiHop: true", "spec.ebgpMultiHop",
			"only peerAddress"},
		{kindPeer, "myASN: 1, peerASN: 2, interface: eth0, sourceAddress: 192.0.2.1",
			"spec.sourceAddress", "the link decides"},
		{kindBFDProfile, "echoMode: true", "spec.echoMode", "asynchronous"},
		{kindBFDProfile, "echoMode: true, echoInterval: 50", "spec.echoInterval", "asynchronous"},
		{kindBFDProfile, "passiveMode: true", "spec.passiveMode", "until the peer answers"},
		{kindBFDProfile, "detectMultiplier: 1", "spec.detectMultiplier", "2 to 255"},
		{kindBFDProfile, "receiveInterval: 5", "spec.receiveInterval", "10 to 60000"},
		{kindCommunity, "communities: [{name: a, value: b}]", "spec.communities", `"b" of "a"`},
		{kindCommunity, "communities: [{value: '1:1'}]", "spec.communities", "without a name"},
		{kindCommunity, "communities: [{name: a, value: '1:1'}, {name: a, value: '1:2'}]",
			"spec.communities", "two values"},
	} {
		out, notes, err := Migrate("f", []byte(manifestOf(row.kind, row.spec)))
		var refused *config.InputError
		if !errors.As(err, &refused) || out != nil || notes != nil || refused.Document != 1 ||
			refused.Field != row.kind+" a: "+row.field ||
			!strings.Contains(refused.Problem, row.says) {
			t.Errorf("%s %s: %v, want %s that has %q", row.kind, row.spec, err, row.field, row.says)
		}
	}
}

// TestEveryRefusedFieldIsRefused: the table has what the program does.
func TestEveryRefusedFieldIsRefused(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if key := f.Kind + f.Name; seen[key] || f.Meaning == "" || strings.HasSuffix(f.Meaning, ".") {
			t.Errorf("%+v is there twice or has no meaning", f)
		} else {
			seen[key] = true
		}
		if !f.Refused {
			continue
		}
		spec := f.Name + ": true"
		if object, inner, nested := strings.Cut(f.Name, "."); nested {
			spec = object + ": {" + inner + ": true}"
		}
		_, _, err := Migrate("f", []byte(manifestOf(f.Kind, spec)))
		if err == nil || !strings.Contains(err.Error(), f.Name+": "+f.Meaning) {
			t.Errorf("%s %s: %v", f.Kind, f.Name, err)
		}
	}
}

// TestInputsAreRefused that are not objects of MetalLB as a whole.
func TestInputsAreRefused(t *testing.T) {
	pool := manifestOf(kindPool, "addresses: [192.0.2.0/24]")
	const l2 = "---\napiVersion: metallb.io/v1beta1\nkind: %s\nmetadata: {name: %s}\n"
	for _, row := range []struct{ name, text, says string }{
		{"nothing", "", "there is no object of MetalLB"},
		{"other objects", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "there is no object of"},
		{"an empty List", "apiVersion: v1\nkind: List\nitems: []\n", "there is no object of MetalLB"},
		{"a text", "text", "f, document 1: is not an object of Kubernetes"},
		{"no YAML", "a: [", "f, document 1: is not YAML"},
		{"no kind", "a: b", "it has no apiVersion and kind"},
		{"a List of Lists", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]\n",
			"is an item of a List"},
		{"items that are texts", "apiVersion: v1\nkind: List\nitems: [a]\n", "is not an object of"},
		{"a spec that is a list", "apiVersion: metallb.io/v1beta1\nkind: BFDProfile\n" +
			"metadata: {name: a}\nspec: []\n", "BFDProfile a: spec: is not an object"},
		{"an unknown kind", "apiVersion: metallb.io/v1\nkind: New\nmetadata: {name: a}\n",
			"New a: kind: kvip does not know"},
		{"an unknown version", "apiVersion: metallb.io/v9\nkind: BGPPeer\nmetadata: {name: a}\n",
			"write metallb.io/v1beta2"},
		{"an old kind", "apiVersion: metallb.io/v1beta1\nkind: AddressPool\nmetadata: {name: a}\n",
			"AddressPool a: kind: is of MetalLB before"},
		{"no name", strings.Replace(pool, "{name: a}", "{}", 1), "metadata.name: is missing"},
		{"two of a name", pool + "---\n" + strings.Replace(pool, "{name: all}", "{name: b}", 1),
			"there twice"},
		{"no advertisement", strings.Split(pool, "---")[0], "IPAddressPool a: no advertisement"},
		{"both", pool + fmt.Sprintf(l2, kindBGP, "b"),
			"L2Advertisement all and BGPAdvertisement b select it"},
	} {
		out, notes, err := Migrate("f", []byte(row.text))
		var refused *config.InputError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.says) || out != nil ||
			notes != nil {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
	}
}

// TestEveryProblemIsReported, and their number is limited.
func TestEveryProblemIsReported(t *testing.T) {
	_, _, err := Migrate("f", []byte(manifestOf(kindPeer, "vrf: a, invented: b")+"---\n"+
		manifestOf(kindBFDProfile, "echoMode: true")))
	for _, says := range []string{"spec.vrf", "spec.invented", "spec.echoMode"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not have %s", err, says)
		}
	}
	var spec []string
	for i := range 200 {
		spec = append(spec, fmt.Sprintf("x%d: 1", i))
	}
	_, _, err = Migrate("f", []byte(manifestOf(kindPeer, strings.Join(spec, ", "))))
	if err == nil || strings.Count(err.Error(), "\n") != maxProblems-1 {
		t.Errorf("%v", err)
	}
}

// TestObjectsAreLimited.
func TestObjectsAreLimited(t *testing.T) {
	text := "apiVersion: v1\nkind: List\nitems:\n" +
		strings.Repeat("- {apiVersion: v1, kind: Pod}\n", maxObjects+1)
	if _, _, err := Migrate("f", []byte(text)); err == nil ||
		!strings.Contains(err.Error(), "more than 5000 objects") {
		t.Errorf("%v", err)
	}
}

func FuzzMigrate(f *testing.F) {
	for _, name := range samples {
		f.Add([]byte(sample(f, name+".yaml")))
	}
	f.Add([]byte(manifestOf(kindPeer, "a: [{}]")))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, _, err := Migrate("f", text)
		if err != nil {
			if out != nil {
				t.Fatalf("output with %v", err)
			}
			return
		}
		for document := range bytes.SplitSeq(out, []byte("\n---\n")) {
			var object map[string]any
			if err := yaml.Unmarshal(document, &object); err != nil || object["kind"] == nil {
				t.Fatalf("%v in\n%s", err, document)
			}
		}
	})
}

func FuzzParseCommunity(f *testing.F) {
	f.Add("65000:1")
	f.Add("large:1:2:4294967295")
	f.Fuzz(func(t *testing.T, text string) {
		once, err := parseCommunity(text)
		if err != nil {
			return
		}
		if again, err := parseCommunity(string(once)); err != nil || again != once {
			t.Fatalf("%q gives %q, then %q, %v", text, once, again, err)
		}
	})
}
