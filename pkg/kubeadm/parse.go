package kubeadm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the size in bytes from which Parse refuses a file: a cluster keeps its configuration
// in a ConfigMap, which cannot be larger.
const MaxSize = 1 << 20

// File is a valid kubeadm configuration. Parse returns it.
type File struct {
	name string
	data []byte
	docs []*document
}

// document is one YAML document of a file.
type document struct {
	number     int    // counts from 1
	start, end int    // offsets in the file, without the separator before it
	line       int    // of its first byte, counted from 1
	version    string // apiVersion
	kind       string
	root       *yaml.Node
	// For kubeadm's own kinds only: all values, and those that this package uses.
	values map[string]any
	fields fields
}

// Parse reads a file of one or more documents. It decodes kubeadm's kinds strictly into the real
// API types. It refuses, with an *config.InputError, what kubeadm refuses, and unknown fields, for
// which kubeadm only prints a warning. name is for messages.
func Parse(name string, data []byte) (*File, error) {
	f := &File{name: name, data: data}
	switch {
	case len(data) >= MaxSize:
		return nil, f.invalid(nil, 0, "",
			fmt.Sprintf("is too large: a kubeadm configuration has less than %d bytes", MaxSize))
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return nil, f.invalid(nil, 0, "", "is not text in UTF-8: save it as UTF-8")
	case len(bytes.TrimSpace(data)) == 0:
		return nil, f.invalid(nil, 0, "", "is empty: give a kubeadm configuration")
	}
	if err := f.split(); err != nil {
		return nil, err
	}
	seen := map[string]int{}
	for _, d := range f.docs {
		if err := f.read(d); err != nil {
			return nil, err
		}
		if first, twice := seen[d.kind]; twice {
			return nil, f.invalid(d, d.line, "kind", fmt.Sprintf(
				"%s is in document %d already, and kubeadm accepts one of each kind", d.kind, first))
		}
		seen[d.kind] = d.number
	}
	return f, nil
}

// split cuts the file exactly where kubeadm does: at lines that begin with three dashes. A second
// such line directly after the first, or at the beginning of the file, is no separator.
func (f *File) split() error {
	d := &document{line: 1}
	at, line := 0, 1
	begun, content := false, false // d has bytes; d has more than comments
	for text := range bytes.Lines(f.data) {
		rest, separator := bytes.CutPrefix(text, []byte("---"))
		rest = bytes.TrimSpace(rest)
		comment := len(rest) == 0 || rest[0] == '#'
		if separator && !comment {
			return f.invalid(
				nil,
				line,
				"",
				"kubeadm accepts only a comment on the line of a separator ---; put the rest on a line of "+
					"its own",
			)
		}
		ends := separator && begun
		if ends {
			if err := f.add(d, at, content); err != nil {
				return err
			}
			d, content = &document{start: at + len(text), line: line + 1}, false
		}
		begun, content = !ends, content || !comment
		at += len(text)
		line++
	}
	if !begun {
		return nil
	}
	return f.add(d, at, content)
}

// add ends a document.
func (f *File) add(d *document, end int, content bool) error {
	d.end, d.number = end, len(f.docs)+1
	f.docs = append(f.docs, d)
	if !content {
		return f.invalid(d, d.line, "", "is empty, which kubeadm refuses; remove it and its ---")
	}
	return nil
}

// read parses one document.
func (f *File) read(d *document) error {
	text := f.data[d.start:d.end]
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var node, more yaml.Node
	if err := decoder.Decode(&node); err != nil {
		return f.syntaxError(d, err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) && !(err == nil && isNull(&more)) {
		return f.invalid(d, 0, "", "continues after its end; separate documents with a line ---")
	}
	if len(node.Content) != 1 || node.Content[0].Kind != yaml.MappingNode {
		return f.invalid(d, d.line, "", "is not a mapping with apiVersion and kind")
	}
	d.root = node.Content[0]
	if err := f.checkKeys(d, d.root, "", map[*yaml.Node]bool{}); err != nil {
		return err
	}
	for field, to := range map[string]*string{"apiVersion": &d.version, "kind": &d.kind} {
		_, value := pair(d.root, field)
		if value == nil || value.Kind != yaml.ScalarNode || value.Value == "" {
			return f.invalid(d, d.line, field, "is missing; kubeadm requires it")
		}
		*to = value.Value
	}
	return f.decode(d)
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntaxError converts an error of the YAML parser, which counts lines from the document's first.
func (f *File) syntaxError(d *document, err error) error {
	line, problem := 0, strings.TrimPrefix(err.Error(), "yaml: ")
	if found := yamlLine.FindStringSubmatch(problem); found != nil {
		n, _ := strconv.Atoi(found[1])
		line, problem = d.line+n-1, strings.Replace(problem, found[0], "", 1)
	}
	return f.invalid(d, line, "", "is not YAML: "+problem)
}

// checkKeys refuses duplicate keys and keys that are not text, anywhere below n.
func (f *File) checkKeys(d *document, n *yaml.Node, path string, seen map[*yaml.Node]bool) error {
	if n.Kind == yaml.AliasNode || seen[n] {
		return nil
	}
	seen[n] = true
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			if err := f.checkKeys(d, item, fmt.Sprintf("%s[%d]", path, i), seen); err != nil {
				return err
			}
		}
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field := strings.TrimPrefix(path+"."+key.Value, ".")
		if key.Kind != yaml.ScalarNode {
			return f.invalid(d, d.lineOf(key), strings.TrimPrefix(path, "."),
				"has a key that is not text: write keys as text")
		}
		if line, twice := first[key.Value]; twice {
			return f.invalid(d, d.lineOf(key), field,
				fmt.Sprintf("is given twice, first in line %d: remove one", line))
		}
		first[key.Value] = d.lineOf(key)
		if err := f.checkKeys(d, n.Content[i+1], field, seen); err != nil {
			return err
		}
	}
	return nil
}

// lineOf returns the node's line in the file.
func (d *document) lineOf(n *yaml.Node) int { return d.line + n.Line - 1 }

// pair returns the key and value of a direct field of a mapping, or nil.
func pair(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// find returns the line of the deepest node on the path. Indexes are written a.b[0].c.
func (d *document) find(path string) int {
	node, line := d.root, d.line
	names := strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) })
	for _, name := range names {
		key, value := pair(node, name)
		if i, err := strconv.Atoi(name); err == nil && node.Kind == yaml.SequenceNode &&
			i < len(node.Content) {
			key, value = node.Content[i], node.Content[i]
		}
		if value == nil {
			break
		}
		if line = d.lineOf(key); value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		node = value
	}
	return line
}

// isNull reports whether a node, or the only node of a document, has no value.
func isNull(n *yaml.Node) bool {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
