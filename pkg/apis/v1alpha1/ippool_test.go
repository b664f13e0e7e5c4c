package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"
)

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
