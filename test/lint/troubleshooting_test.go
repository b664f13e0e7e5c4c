package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// quoted finds the output of kvip that docs/troubleshooting.md quotes.
var quoted = regexp.MustCompile(
	"(?:[lL]og|/readyz|status|[mM]etric|kvip): (`[^`]+`(?:(?:,| with|:| or) `[^`]+`)*)")

// TestTroubleshootingQuotesWhatIsPrinted: every text that the page quotes is in a string of the
// source, "..." standing for what varies.
func TestTroubleshootingQuotesWhatIsPrinted(t *testing.T) {
	const troubleshooting = "docs/troubleshooting.md"
	printed := literals(t)
	count := 0
	for _, found := range quoted.FindAllStringSubmatch(page(t, troubleshooting), -1) {
		for _, quote := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(found[1], -1) {
			count++
			for _, part := range strings.Split(quote[1], "...") {
				if part = strings.TrimSpace(part); part != "" && !strings.Contains(printed, part) {
					t.Errorf("%s quotes %q, and no source has %q", troubleshooting, quote[1], part)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("found only %d quotes", count)
	}
}

// literals returns the strings in the source of the agent and the commands, one per line.
func literals(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	walk(t, func(name string) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") ||
			!strings.HasPrefix(name, "pkg/") && !strings.HasPrefix(name, "cmd/") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil,
			parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if expr, ok := n.(ast.Expr); ok {
				if text, ok := constant(expr); ok {
					all.WriteString(text + "\n")
					return false
				}
			}
			return true
		})
	})
	return all.String()
}

// constant returns the value of a string literal, or of a sum of several.
func constant(expr ast.Expr) (text string, ok bool) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		left, ok1 := constant(e.X)
		right, ok2 := constant(e.Y)
		return left + right, ok1 && ok2 && e.Op == token.ADD
	}
	return "", false
}
