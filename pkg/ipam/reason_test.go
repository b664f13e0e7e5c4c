package ipam

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// Every reason has a sentence. The test reads the source, so that it finds new reasons.
func TestEveryReasonHasASentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	seen := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Type == nil {
			return true
		}
		declared++
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || text != spec.Names[0].Name {
			t.Errorf("%s is %q, %v", spec.Names[0], text, err)
		}
		s := Reason(text).Sentence()
		if s == "" || strings.ToLower(s[:1]) != s[:1] || strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q should read on after a colon", text, s)
		} else if other := seen[s]; other != "" {
			t.Errorf("%s and %s have the same sentence", text, other)
		}
		seen[s] = text
		return true
	})
	if declared == 0 || declared != len(sentences) {
		t.Errorf("%d reasons are declared, %d have a sentence", declared, len(sentences))
	}
	if s := Reason("Nonsense").Sentence(); s != "" {
		t.Errorf("an unknown reason has the sentence %q", s)
	}
}
