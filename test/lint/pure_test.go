package lint

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// pure lists the packages (every file) and single files that decide without looking or acting: the
// same input gives the same output, so that a transcript or a table is a full test of them.
var pure = []string{
	"pkg/election", "pkg/liveness", "pkg/placement", "pkg/ipam", "pkg/kubevip", "pkg/bgp/policy",
	"pkg/anycast/machine.go",
	"pkg/bfd/diagnostic.go", "pkg/bfd/event.go", "pkg/bfd/machine.go", "pkg/bfd/packet.go",
	"pkg/bfd/timers.go",
	"pkg/bgp/config.go", "pkg/bgp/event.go", "pkg/bgp/machine.go", "pkg/bgp/message.go",
	"pkg/bgp/open.go", "pkg/bgp/route.go", "pkg/bgp/table.go", "pkg/bgp/update.go",
	"pkg/arp/queue.go", "pkg/health/hysteresis.go",
	"pkg/tokenmanager/step.go",
	"pkg/vip/schedule.go", "pkg/svc/entries.go", "pkg/svc/allocator/leadership.go",
	"pkg/svc/speaker/transition.go", "pkg/svc/speaker/faults.go",
}

// impure are the imports that would let them look at the world. "net" is a prefix of sockets;
// net/netip and net/url are values.
var impure = []string{
	"context", "io", "log", "log/slog", "net", "net/http", "os", "os/exec", "os/signal", "sync",
	"sync/atomic", "syscall",
	"math/rand", "math/rand/v2", "crypto/rand", module + "/pkg/boottime",
}

// wallClock are the functions of package time that read a clock or wait; durations are values.
var wallClock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer",
	"NewTicker", "Tick"}

func TestPurePartsLookAtNothing(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, rule := range pure {
			if s.path == rule || s.pkg == rule {
				found[rule] = true
				checkPure(t, s)
			}
		}
	}
	for _, rule := range pure {
		if !found[rule] {
			t.Errorf("%s does not exist any more: correct the list", rule)
		}
	}
}

func checkPure(t *testing.T, s source) {
	for _, imported := range s.imports() {
		first, _, _ := strings.Cut(imported, "/")
		if slices.Contains(impure, imported) || strings.HasSuffix(first, "k8s.io") ||
			strings.HasPrefix(imported, "golang.org/x/") {
			t.Errorf("%s is pure and imports %s", s.path, imported)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch node := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: %s is pure and starts a goroutine", s.fset.Position(node.Pos()), path.Base(s.path))
		case *ast.SelectorExpr:
			if pkg, ok := node.X.(*ast.Ident); ok && pkg.Name == "time" &&
				slices.Contains(wallClock, node.Sel.Name) {
				t.Errorf("%s: %s is pure and calls time.%s", s.fset.Position(node.Pos()), path.Base(s.path),
					node.Sel.Name)
			}
		}
		return true
	})
}

// TestOnlyMainEndsTheProcess: a library that panics or exits leaves the address behind.
func TestOnlyMainEndsTheProcess(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || outside(s.pkg) || s.path == "cmd/kvip/main.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch fun := call.Fun.(type) {
			case *ast.Ident:
				if fun.Name == "panic" {
					t.Errorf("%s panics", s.fset.Position(call.Pos()))
				}
			case *ast.SelectorExpr:
				if pkg, ok := fun.X.(*ast.Ident); ok &&
					(pkg.Name == "os" && fun.Sel.Name == "Exit" || pkg.Name == "log" &&
						strings.HasPrefix(fun.Sel.Name, "Fatal")) {
					t.Errorf("%s ends the process", s.fset.Position(call.Pos()))
				}
			}
			return true
		})
	}
}
