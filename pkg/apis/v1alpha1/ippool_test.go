package v1alpha1

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// full returns a pool with a value in every field of spec and status.
func full() *IPPool {
	manual := false
	return &IPPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: Group + "/" + Version, Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 3},
		Spec: IPPoolSpec{
			Addresses:  []Addresses{"192.0.2.0/28", "2001:db8::1-2001:db8::f"},
			Namespaces: []Namespace{"b"}, AvoidBuggyIPs: true, AutoAssign: &manual,
			SearchOrder: Descending, Sharing: ByPort,
		},
		Status: IPPoolStatus{
			ObservedGeneration: 3, Size: "31", Used: 2, Conflicts: []string{"c: 192.0.2.0/28"},
			Addresses: "192.0.2.0/28, 2001:db8::1-2001:db8::f", IPv4: "1/16", IPv6: "1/15",
			Conditions: []metav1.Condition{
				{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: "Valid"},
			},
		},
	}
}

// fullList returns a list of two pools.
func fullList() *IPPoolList {
	return &IPPoolList{
		TypeMeta: metav1.TypeMeta{APIVersion: "kvip.dev/v1alpha1", Kind: "IPPoolList"},
		ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []IPPool{*full(), *full()},
	}
}

// TestFullHasEveryField keeps the other tests complete if a field is added.
func TestFullHasEveryField(t *testing.T) {
	for _, part := range []any{full().Spec, full().Status} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s has no value", v.Type().Name(), v.Type().Field(i).Name)
			}
		}
	}
}

// TestSchemeReadsWhatItWrites encodes and decodes a pool with the codec of clients.
func TestSchemeReadsWhatItWrites(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion() // as for a rest.Config
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(),
		runtime.ContentTypeJSON)
	encoder := codecs.EncoderForVersion(info.Serializer, GroupVersion())
	decoder := codecs.DecoderToVersion(info.Serializer, GroupVersion())
	for _, want := range []runtime.Object{full(), fullList()} {
		text, err := runtime.Encode(encoder, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := runtime.Decode(decoder, text)
		if err != nil {
			t.Fatal(err)
		}
		// Decoding clears it.
		want.GetObjectKind().SetGroupVersionKind(got.GetObjectKind().GroupVersionKind())
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestSchemeKnowsItsKindsOnly(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]bool{Kind: true, Kind + "List": true, "IPAddressPool": false} {
		if got := scheme.Recognizes(GroupVersion().WithKind(kind)); got != want {
			t.Errorf("%s is recognized: %v", kind, got)
		}
	}
	other := GroupVersion()
	other.Version = "v1"
	if scheme.Recognizes(other.WithKind(Kind)) {
		t.Error("a version that does not exist is recognized")
	}
}

// TestZeroCountOfAddressesIsWritten: an empty column would mean that the count is unknown.
func TestZeroCountOfAddressesIsWritten(t *testing.T) {
	text, err := json.Marshal(IPPoolStatus{Size: "1"})
	if want := `{"size":"1","used":0}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
}

// TestAutoAssignHasThreeValues: left out it is null for the API server's default, true otherwise
// than false.
func TestAutoAssignHasThreeValues(t *testing.T) {
	yes, no := true, false
	for want, value := range map[string]*bool{
		`{"addresses":null}`:                    nil,
		`{"addresses":null,"autoAssign":true}`:  &yes,
		`{"addresses":null,"autoAssign":false}`: &no,
	} {
		text, err := json.Marshal(IPPoolSpec{AutoAssign: value})
		if err != nil || string(text) != want {
			t.Errorf("got %s, %v, want %s", text, err, want)
		}
	}
}

// TestSizeIsExactBeyondJSONNumbers: a /64 has more addresses than a float64 counts exactly.
func TestSizeIsExactBeyondJSONNumbers(t *testing.T) {
	const size = "18446744073709551615"
	text, err := json.Marshal(IPPoolStatus{Size: size})
	if err != nil || !strings.Contains(string(text), `"size":"`+size+`"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var generic map[string]any // as kubectl and jq read it
	if err := json.Unmarshal(text, &generic); err != nil || generic["size"] != size {
		t.Errorf("read as %v, %v", generic["size"], err)
	}
}

// TestCopiesShareNothing changes every list and pointer of a copy.
func TestCopiesShareNothing(t *testing.T) {
	change := func(p *IPPool) {
		p.Spec.Addresses[0], p.Spec.Namespaces[0], *p.Spec.AutoAssign = "192.0.2.9", "x", true
		p.Status.Conflicts[0], p.Status.Conditions[0].Reason = "x", "x"
	}
	original, list := full(), fullList()
	for _, clone := range []*IPPool{
		original.DeepCopy(), original.DeepCopyObject().(*IPPool),
		{Spec: *original.Spec.DeepCopy(), Status: *original.Status.DeepCopy()},
		&list.DeepCopy().Items[1], &list.DeepCopyObject().(*IPPoolList).Items[1],
	} {
		if !reflect.DeepEqual(clone.Spec, original.Spec) ||
			!reflect.DeepEqual(clone.Status, original.Status) {
			t.Errorf("the copy differs: %+v", clone)
		}
		change(clone)
		if !reflect.DeepEqual(original, full()) || !reflect.DeepEqual(list, fullList()) {
			t.Fatalf("a change of the copy changed the original: %+v", original)
		}
	}
}

// TestCopiesOfNil are nil, in an interface too: callers compare with nil.
func TestCopiesOfNil(t *testing.T) {
	var (
		pool   *IPPool
		list   *IPPoolList
		spec   *IPPoolSpec
		status *IPPoolStatus
	)
	if pool.DeepCopy() != nil || list.DeepCopy() != nil || spec.DeepCopy() != nil ||
		status.DeepCopy() != nil {
		t.Error("a copy of nil is not nil")
	}
	if pool.DeepCopyObject() != nil || list.DeepCopyObject() != nil {
		t.Error("a copied object of nil is not nil")
	}
	var empty IPPool
	if clone := empty.DeepCopy(); !reflect.DeepEqual(*clone, empty) {
		t.Errorf("the copy of an empty pool is %+v", clone)
	}
}
