// Package lint tests the source tree itself: who imports whom, comments, and words that have no
// place here. It knows nothing of what the code does.
package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/kvip/kvip"
)

// source is one Go file of the tree.
type source struct {
	path string // relative to the root, with slashes
	pkg  string // its directory
	test bool
	fset *token.FileSet
	file *ast.File
}

// imports returns the paths that the file imports.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic("the parser accepted " + spec.Path.Value)
		}
		paths = append(paths, path)
	}
	return paths
}

// walk calls visit for every file of the tree that belongs to the project.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name == ".git" || name == ".cache" || name == "bin" || name == "artifacts" {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err == nil && entry.Type().IsRegular() {
			visit(filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// parsed is the result of sources: the tree does not change while the tests run.
var parsed []source

// sources parses every Go file, once.
func sources(t *testing.T) []source {
	t.Helper()
	if parsed != nil {
		return parsed
	}
	all := parsed
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Fatalf("parse %s: %v", path, err)
		}
		all = append(all, source{path, filepath.ToSlash(filepath.Dir(path)),
			strings.HasSuffix(path, "_test.go"), fset, file})
	})
	if len(all) == 0 {
		t.Fatal("found no Go file")
	}
	parsed = all
	return all
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments, packages := map[string][]string{}, map[string]string{}
	for _, s := range sources(t) {
		key := s.pkg + " " + strings.TrimSuffix(s.file.Name.Name, "_test")
		packages[key] = s.pkg
		if s.file.Doc != nil {
			comments[key] = append(comments[key], s.path)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(packages)) {
		switch files := comments[key]; {
		case len(files) == 0:
			t.Errorf("%s: no file says what the package is for", packages[key])
		case len(files) > 1:
			t.Errorf("%s: the package comment is spread over %s", packages[key], strings.Join(files, ", "))
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			for name, doc := range declared(decl) {
				if ast.IsExported(name) && doc == nil {
					t.Errorf("%s: %s has no comment", s.path, name)
				}
			}
		}
	}
}

// declared returns the names of a top-level declaration with their comments. A comment on a group
// of constants or variables stands for all of them; methods count only on exported receivers.
func declared(decl ast.Decl) map[string]*ast.CommentGroup {
	names := map[string]*ast.CommentGroup{}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)) {
			names[d.Name.Name] = d.Doc
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names[s.Name.Name] = first(s.Doc, d.Doc, s.Comment)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					names[name.Name] = first(s.Doc, d.Doc, s.Comment)
				}
			}
		}
	}
	return names
}

func first(groups ...*ast.CommentGroup) *ast.CommentGroup {
	for _, g := range groups {
		if g != nil {
			return g
		}
	}
	return nil
}

// TestNoFileNamesAPackageRegistry: which registry serves modules and packages is the user's setting
// (GOPROXY, sources.list), never this project's.
func TestNoFileNamesAPackageRegistry(t *testing.T) {
	// In two halves, so that this file does not name them either.
	hosts := []string{
		"proxy." + "golang.org", "sum." + "golang.org", "index." + "golang.org", "goproxy" + ".io",
		"goproxy" + ".cn",
		"deb." + "debian.org", "security." + "debian.org", "archive." + "ubuntu.com",
		"registry." + "npmjs.org", "files." + "pythonhosted.org", "static." + "crates.io", "rubygems" +
			".org",
	}
	walk(t, func(path string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range hosts {
			if strings.Contains(string(text), host) {
				t.Errorf("%s names %s", path, host)
			}
		}
	})
}
