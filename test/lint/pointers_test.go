package lint

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// declarations are the top-level names of each Go file, methods both as Method and as Type.Method.
type declarations map[string]map[string]bool

func declarationsOf(t *testing.T) declarations {
	t.Helper()
	all := declarations{}
	for _, s := range sources(t) {
		names := map[string]bool{}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = true
				if d.Recv != nil {
					names[receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch v := spec.(type) {
					case *ast.TypeSpec:
						names[v.Name.Name] = true
					case *ast.ValueSpec:
						for _, id := range v.Names {
							names[id.Name] = true
						}
					}
				}
			}
		}
		all[s.path] = names
	}
	return all
}

// receiver returns the name of a method's type.
func receiver(expr ast.Expr) string {
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// in reports whether a file, or a file of a directory, declares name.
func (d declarations) in(where, name string) bool {
	if strings.HasSuffix(where, ".go") {
		return d[where][name]
	}
	for file, names := range d {
		if path.Dir(file) == where && names[name] {
			return true
		}
	}
	return false
}

var (
	backquoted  = regexp.MustCompile("`([^`\n]+)`")
	codePart    = regexp.MustCompile(`(?ms)^\*\*Code\.\*\*.*?(\n\n|\z)`)
	continued   = regexp.MustCompile(`\n {2,}`)
	pathAndName = regexp.MustCompile("`([\\w/.-]+\\.go): ([\\w.]+)`")
	identifier  = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$`)
)

// pointers returns the problems of one text that names files and what they declare: each file and
// directory must exist, and each identifier must be declared in one of those. A file without a
// directory is in one that the text names. `path.go: name` names both.
func pointers(text string, all declarations) (problems []string) {
	var dirs, where, idents []string
	for _, found := range pathAndName.FindAllStringSubmatch(text, -1) {
		if !all.in(found[1], found[2]) {
			problems = append(problems, fmt.Sprintf("%s does not declare %s", found[1], found[2]))
		}
	}
	text = pathAndName.ReplaceAllString(text, "`$1`")
	for _, found := range backquoted.FindAllStringSubmatch(text, -1) {
		if name := found[1]; strings.Contains(name, "/") {
			dirs = append(dirs, name, path.Dir(name))
		}
	}
	for _, found := range backquoted.FindAllStringSubmatch(text, -1) {
		name := found[1]
		switch _, err := os.Stat(filepath.Join(root, name)); {
		case strings.Contains(name, "/") && err != nil:
			problems = append(problems, name+" does not exist")
		case strings.Contains(name, "/"):
			where = append(where, name)
		case strings.HasSuffix(name, ".go"):
			at := slices.IndexFunc(dirs, func(d string) bool { return all[path.Join(d, name)] != nil })
			if at < 0 {
				problems = append(problems, fmt.Sprintf("%s is in none of %v", name, dirs))
			} else {
				where = append(where, path.Join(dirs[at], name))
			}
		case identifier.MatchString(name):
			idents = append(idents, name)
		}
	}
	for _, name := range idents {
		if !slices.ContainsFunc(where, func(w string) bool { return all.in(w, name) }) {
			problems = append(problems, fmt.Sprintf("%s is declared in none of %v", name, where))
		}
	}
	return problems
}

// TestCodePointers: the files, types and functions that the design pages name exist where they say.
func TestCodePointers(t *testing.T) {
	all := declarationsOf(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs/design/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("found no design pages: %v", err)
	}
	for _, file := range pages {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		text := page(t, name)
		for _, part := range codePart.FindAllString(text, -1) {
			first, _, _ := strings.Cut(part, "\n")
			for _, problem := range pointers(part, all) {
				t.Errorf("%s: %.60s...: %s", name, first, problem)
			}
		}
	}
}

// walks are the lists of functions in docs/how-it-works.md, with the most that each may have.
var walks = map[string]int{
	"From the flag to the kernel":                     15,
	"From a Service to the ARP frame":                 42,
	"From a health observation to the released lease": 19,
	"From a ready API server to the route":            22,
	"From a BGPPeer to the route of a Service":        18,
}

// TestWalks: each hop of the walks exists, and a walk does not grow.
func TestWalks(t *testing.T) {
	const name = "docs/how-it-works.md"
	all, text := declarationsOf(t), page(t, name)
	hop := regexp.MustCompile("(?m)^\\d+\\. `([^`]+\\.go)`: (.*)$")
	for title, limit := range walks {
		section := regexp.MustCompile(`(?ms)^### ` + regexp.QuoteMeta(title) + `$.*?(^##|\z)`)
		part := continued.ReplaceAllString(section.FindString(text), " ") // one line for each hop
		functions := 0
		for _, found := range hop.FindAllStringSubmatch(part, -1) {
			for _, q := range backquoted.FindAllStringSubmatch(found[2], -1) {
				if !identifier.MatchString(q[1]) {
					continue
				}
				functions++
				if !all.in(found[1], q[1]) {
					t.Errorf("%s: %s: %s does not declare %s", name, title, found[1], q[1])
				}
			}
		}
		if functions < 5 || functions > limit {
			t.Errorf("%s: %s names %d functions, want 5 to %d", name, title, functions, limit)
		}
	}
}
