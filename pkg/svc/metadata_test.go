package svc

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNewer(t *testing.T) {
	of := func(version string) *Lease {
		return &Lease{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
	}
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"10", "9", true}, {"9", "10", false}, {"9", "9", false},
		{"x", "9", true}, {"x", "x", false}, {"", "9", true}, // not numbers: any difference counts
	} {
		if got := Newer(of(row.a), of(row.b)); got != row.want {
			t.Errorf("%s newer than %s: %v", row.a, row.b, got)
		}
	}
}

// Decoded objects keep little of the metadata: managed fields and annotations may be large.
func TestIdentified(t *testing.T) {
	want := metav1.ObjectMeta{Namespace: "a", Name: "x", UID: "u", ResourceVersion: "7"}
	full := want
	full.Labels, full.Annotations = map[string]string{"k": "v"}, map[string]string{"k": "v"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	if got := identified(&corev1.ConfigMap{ObjectMeta: full}); !reflect.DeepEqual(got, want) {
		t.Errorf("metadata %+v", got)
	}
}

// Messages quote users. They are cut to the length that the API accepts.
func TestBriefIsLimited(t *testing.T) {
	for text, want := range map[string]int{
		"short": 5, strings.Repeat("x", 1024): 1024, strings.Repeat("x", 1025): 1024, strings.Repeat("ä",
			900): 1023,
	} {
		if got := Brief(text); len(got) != want || !strings.HasPrefix(text,
			strings.TrimSuffix(got, "...")) {
			t.Errorf("%d bytes become %d", len(text), len(got))
		}
	}
}

// kubectl prints conditions and Events, and escapes few characters.
func TestBriefIsSafeForATerminal(t *testing.T) {
	got := Brief("\x1b[2J\u009b2Jone\nNormal  Allocated\u202e")
	if want := `\x1b[2J\u009b2Jone\nNormal  Allocated\u202e`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
