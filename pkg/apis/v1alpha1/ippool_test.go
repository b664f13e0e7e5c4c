package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

func full() *IPPool {
	manual := false
	return &IPPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: Group + "/" + Version, Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 3},
		Spec: IPPoolSpec{Addresses: []Addresses{"192.0.2.0/28", "2001:db8::1-2001:db8::f"}, Namespaces: []Namespace{"b"}, AvoidBuggyIPs: true,
			AutoAssign: &manual, SearchOrder: Descending, Sharing: ByPort},
		Status: IPPoolStatus{ObservedGeneration: 3, Size: "31", Used: 2, Conflicts: []string{"c: 192.0.2.0/28"},
			Conditions: []metav1.Condition{{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: "Valid"}}},
	}
}

// TestSchemeReadsWhatItWrites takes a pool through the codec that clients use.
func TestSchemeReadsWhatItWrites(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion() // as for a rest.Config
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	encoder, decoder := codecs.EncoderForVersion(info.Serializer, GroupVersion()), codecs.DecoderToVersion(info.Serializer, GroupVersion())
	for _, want := range []runtime.Object{full(), &IPPoolList{TypeMeta: metav1.TypeMeta{APIVersion: "kvip.dev/v1alpha1", Kind: "IPPoolList"}, Items: []IPPool{*full()}}} {
		text, err := runtime.Encode(encoder, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := runtime.Decode(decoder, text)
		if err != nil {
			t.Fatal(err)
		}
		want.GetObjectKind().SetGroupVersionKind(got.GetObjectKind().GroupVersionKind()) // which decoding clears
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// TestNoAddressInUseIsSaid: a column that is empty would look as if nobody had counted.
func TestNoAddressInUseIsSaid(t *testing.T) {
	text, err := json.Marshal(IPPoolStatus{Size: "1"})
	if want := `{"size":"1","used":0}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
}

func TestCopiesShareNothing(t *testing.T) {
	original := full()
	clone := original.DeepCopy()
	clone.Spec.Addresses[0], clone.Spec.Namespaces[0], *clone.Spec.AutoAssign = "192.0.2.9", "x", true
	clone.Status.Conflicts[0], clone.Status.Conditions[0].Reason = "x", "x"
	if !reflect.DeepEqual(original, full()) {
		t.Errorf("a change of the copy changed the original: %+v", original)
	}
}
