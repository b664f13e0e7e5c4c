package lint

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// logCalls are helpers of end-to-end tests whose texts come from the program's output.
var logCalls = []string{
	"waitLogged", "hasLogged", "countLogged", "loggedSince", "waitUnready", "waitStatus",
	"event", "waitCondition", "says",
}

// composed matches texts with values, and texts of the kernel and of API servers.
var composed = regexp.MustCompile(`^(level=\w+|[a-z-]+=.*|\d.*|[a-z]+\d?|[\w.:-]*:\d+|` +
	`default/\w+|[a-z]+-[a-z]+|example\.com/x|kube-vip\.io/egress|cp1, cp2, cp3|` +
	`same-name|Forbidden|Unauthorized|address already in use|` +
	`no valid token in /var/lib/kvip|credentials: none)$`)

// TestLoggedTextsExist: a log message that an end-to-end test waits for is in the source of the
// program, so that a changed message fails here and not in a lab.
func TestLoggedTextsExist(t *testing.T) {
	printed, count := literals(t), 0
	for _, s := range sources(t) {
		if !s.test || !strings.HasPrefix(s.pkg, "test/e2e/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !readsLog(call) {
				return true
			}
			for _, arg := range call.Args {
				text, ok := constant(arg)
				if !ok || text == "" || composed.MatchString(text) {
					continue
				}
				count++
				if !strings.Contains(printed, text) {
					t.Errorf("%s waits for %q, and no source has it", s.fset.Position(arg.Pos()), text)
				}
			}
			return true
		})
	}
	if count < 15 {
		t.Errorf("found only %d texts", count)
	}
}

// readsLog reports whether a call is one of logCalls, or searches the result of logOf.
func readsLog(call *ast.CallExpr) bool {
	name := func(fun ast.Expr) string {
		switch f := fun.(type) {
		case *ast.Ident:
			return f.Name
		case *ast.SelectorExpr:
			return f.Sel.Name
		}
		return ""
	}
	if slices.Contains(logCalls, name(call.Fun)) {
		return true
	}
	if len(call.Args) != 2 || !slices.Contains([]string{"Contains", "Count"}, name(call.Fun)) {
		return false
	}
	inner, ok := call.Args[0].(*ast.CallExpr)
	return ok && strings.EqualFold(name(inner.Fun), "logOf")
}
