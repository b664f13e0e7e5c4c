package election

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Each reason has a sentence for people. The reasons are read from the source, so that a new one
// cannot be forgotten.
func TestEveryReasonHasASentence(t *testing.T) {
	reasons := declaredReasons(t)
	if len(reasons) != len(sentences) {
		t.Errorf("%d reasons are declared, %d have a sentence", len(reasons), len(sentences))
	}
	seen := map[string]Reason{}
	for _, r := range reasons {
		s := r.Sentence()
		switch other, twice := seen[s]; {
		case s == "":
			t.Errorf("%s has no sentence", r)
		case twice:
			t.Errorf("%s and %s have the same sentence", r, other)
		case strings.ToLower(s[:1]) != s[:1] || strings.HasSuffix(s, "."):
			t.Errorf("%s: %q must fit after a colon", r, s)
		}
		seen[s] = r
	}
	if s := Reason("Nonsense").Sentence(); s != "" {
		t.Errorf("an unknown reason has the sentence %q", s)
	}
}

func declaredReasons(t *testing.T) (reasons []Reason) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Names) == 1 && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, Reason(text))
		}
		return true
	})
	return reasons
}

// Transitions are the reasons with which an address is taken or given up. The others are reasons of
// a standby node.
func TestTransitionReasons(t *testing.T) {
	all := map[Reason]bool{}
	for _, r := range TransitionReasons() {
		if all[r] || r.Sentence() == "" {
			t.Errorf("%s is there twice or unknown", r)
		}
		all[r] = true
	}
	for _, r := range []Reason{
		ReasonStarting, ReasonHeldByOther, ReasonLeaseUnknown, ReasonWaitingForExpiry, ReasonBackingOff,
		ReasonAddressNotRemoved, ReasonClaiming,
	} {
		if all[r] {
			t.Errorf("%s is not a transition", r)
		}
		all[r] = true
	}
	if declared := declaredReasons(t); len(all) != len(declared) {
		t.Errorf("%d reasons are declared, %d are classified", len(declared), len(all))
	}
}
