package required

import "testing"

func TestFields(t *testing.T) {
	for _, row := range []struct {
		name    string
		missing map[string]bool
		want    string
	}{
		{"no fields", nil, ""},
		{"all are set", map[string]bool{"Node": false, "Cache": false}, ""},
		{"one is missing", map[string]bool{"Node": true, "Cache": false},
			"configure speaker: Node is required"},
		{"several, by name", map[string]bool{"Node": true, "Cache": true, "Addresses": true},
			"configure speaker: Addresses is required\n" +
				"configure speaker: Cache is required\n" +
				"configure speaker: Node is required"},
	} {
		got := ""
		if err := Fields("speaker", row.missing); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
