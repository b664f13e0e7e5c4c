package assignment

import "testing"

func TestStateString(t *testing.T) {
	seen := map[string]bool{}
	for s := State(0); s <= Silent; s++ {
		if text := s.String(); text == "" || seen[text] {
			t.Errorf("state %d: %q is empty or not its own", s, text)
		} else {
			seen[text] = true
		}
	}
	if State(0).String() != "unknown" || State(200).String() != "unknown" {
		t.Error("a value that is not a State has a name")
	}
}
