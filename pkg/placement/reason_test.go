package placement

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// The reasons are read from the source, so that a new one cannot be forgotten.
func TestEveryReasonHasASentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]Reason{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		r := Reason(value)
		s := r.Sentence()
		if s == "" || strings.HasSuffix(s, ".") || strings.ToLower(s[:1]) != s[:1] {
			t.Errorf("%s: %q does not continue a sentence after a colon", r, s)
		}
		if other, twice := seen[s]; twice {
			t.Errorf("%s and %s have the same sentence", r, other)
		}
		seen[s] = r
		return true
	})
	if len(seen) != len(sentences) {
		t.Errorf("%d reasons are declared, %d have a sentence", len(seen), len(sentences))
	}
	if s := Reason("Nonsense").Sentence(); s != "" {
		t.Errorf("an unknown reason has the sentence %q", s)
	}
}
