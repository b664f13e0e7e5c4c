package election

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Every refusal is a typed reason with a sentence for people: read from the source, so
// that a new Reason cannot be forgotten.
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
			t.Errorf("%s and %s say the same", r, other)
		case strings.ToLower(s[:1]) != s[:1] || strings.HasSuffix(s, "."):
			t.Errorf("%s: %q should read on after a colon", r, s)
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
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && strings.HasPrefix(spec.Names[0].Name, "Reason") {
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
