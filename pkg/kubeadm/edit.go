package kubeadm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// errHasValue is returned for a field that has a value already.
var errHasValue = errors.New("there is a value already")

// set returns the file with the value at the path of a document, and every other byte unchanged. It
// parses the result and fails if anything but the field changed.
func (f *File) set(d *document, path []string, v yamlValue) (*File, error) {
	field := strings.Join(path, ".")
	p, err := newEditor(f, d).patchFor(path, v)
	if err != nil {
		return nil, f.invalid(d, d.find(field), field,
			fmt.Sprintf("cannot be set here: %v; set it to %s by hand", err, v))
	}
	edited, err := Parse(f.name, slices.Concat(f.data[:p.from], []byte(p.text), f.data[p.to:]))
	if err != nil || len(edited.docs) != len(f.docs) ||
		!reflect.DeepEqual(edited.docs[d.number-1].values, withValue(d.values, path, v)) {
		return nil, f.invalid(d, d.find(field), field,
			fmt.Sprintf("is written in a way that kvip cannot edit; set it to %s by hand", v))
	}
	return edited, nil
}

// withValue returns a copy of values with v at the path.
func withValue(values map[string]any, path []string, v yamlValue) map[string]any {
	values = maps.Clone(values)
	if values == nil {
		values = map[string]any{}
	}
	if len(path) > 1 {
		child, _ := values[path[0]].(map[string]any)
		values[path[0]] = withValue(child, path[1:], v)
		return values
	}
	if v.items == nil {
		values[path[0]] = v.text
		return values
	}
	old, _ := values[path[0]].([]any)
	var all []any
	for _, item := range v.items {
		all = append(all, item)
	}
	values[path[0]] = append(all, old...)
	return values
}

// patch replaces the bytes from (inclusive) to (exclusive) of a file.
type patch struct {
	from, to int
	text     string
}

// insertion returns the patch that inserts text.
func insertion(at int, text string) patch { return patch{at, at, text} }

// editor finds the place of a value in the text of a document.
type editor struct {
	doc   *document
	file  []byte
	lines []int // offsets in the file of each line of the document, and of its end
	json  bool  // keys are quoted
}

// newEditor finds the lines as the YAML parser counts them: it accepts more line breaks than "\n".
func newEditor(f *File, d *document) *editor {
	e := &editor{doc: d, file: f.data, lines: []int{d.start}}
	text := f.data[d.start:d.end]
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		if r == '\r' && i < len(text) && text[i] == '\n' {
			i++
			r = '\n'
		}
		if i < len(text) && (r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029') {
			e.lines = append(e.lines, d.start+i)
		}
	}
	e.lines = append(e.lines, d.end)
	e.json = d.root.Style&yaml.FlowStyle != 0 && len(d.root.Content) > 0 &&
		d.root.Content[0].Style&yaml.DoubleQuotedStyle != 0
	return e
}

// patchFor returns the patch that puts v at the path.
func (e *editor) patchFor(path []string, v yamlValue) (patch, error) {
	node, above := e.doc.root, e.head()
	for i, name := range path {
		key, value := pair(node, name)
		rest := path[i:]
		switch {
		case key == nil:
			return e.insertField(node, above, rest, v)
		case value.Kind == yaml.AliasNode:
			return patch{}, fmt.Errorf("line %d uses an alias", e.doc.lineOf(value))
		case value.Kind == yaml.ScalarNode && value.Value == "" && value.Style&^yaml.TaggedStyle == 0:
			return e.insertAfterColon(node, key, rest, v)
		case value.Kind == yaml.ScalarNode:
			return e.replaceEmpty(value, rest[1:], v)
		}
		node, above = value, key
	}
	return e.prependItems(node, above, v)
}

// head returns the node whose line is above new fields of the document: its apiVersion or kind.
func (e *editor) head() *yaml.Node {
	_, version := pair(e.doc.root, "apiVersion")
	_, kind := pair(e.doc.root, "kind")
	if version.Line > kind.Line {
		return version
	}
	return kind
}

// line returns the text of the line of a node.
func (e *editor) line(n *yaml.Node) []byte { return e.file[e.lines[n.Line-1]:e.lines[n.Line]] }

// offset returns where a node begins in the file.
func (e *editor) offset(n *yaml.Node) int {
	at := e.lines[n.Line-1]
	at += len(e.file[at:]) - len(bytes.TrimPrefix(e.file[at:], []byte("\ufeff")))
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(e.file[at:])
		at += size
	}
	return at
}

// insertField adds a field to a mapping: as the first one of a flow mapping, else on lines of its
// own below the line of above, so that comments stay at their fields.
func (e *editor) insertField(mapping, above *yaml.Node, path []string, v yamlValue) (patch, error) {
	if mapping.Style&yaml.FlowStyle != 0 {
		return e.insertFirst(mapping, '{', v.flowField(path, e.json))
	}
	begin := e.firstEntry(mapping)
	return e.insertBelow(above, begin, v.blockField(path, begin.Column-1))
}

// prependItems adds items before those of a list.
func (e *editor) prependItems(list, key *yaml.Node, v yamlValue) (patch, error) {
	if list.Kind != yaml.SequenceNode || v.items == nil {
		return patch{}, errHasValue
	}
	if list.Style&yaml.FlowStyle != 0 {
		return e.insertFirst(list, '[', strings.Trim(v.flow(e.json), "[]"))
	}
	begin := e.firstEntry(list)
	return e.insertBelow(key, begin, v.blockItems(begin.Column-1))
}

// firstEntry returns where the first entry of a block collection begins. The collection's own
// position is that of its anchor or tag, if it has one.
func (e *editor) firstEntry(n *yaml.Node) *yaml.Node {
	if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 || len(n.Content) == 0 {
		return n
	}
	entry := *n.Content[0]
	if n.Kind == yaml.SequenceNode {
		entry.Column = bytes.IndexByte(e.line(&entry), '-') + 1
	}
	return &entry
}

// insertFirst adds text at the beginning of a flow collection.
func (e *editor) insertFirst(n *yaml.Node, bracket byte, text string) (patch, error) {
	if len(n.Content) > 0 {
		return insertion(e.offset(n.Content[0]), text+", "), nil
	}
	at := e.offset(n) // of its anchor or tag, if it has one
	within := bytes.IndexByte(e.file[at:], bracket)
	if within < 0 {
		return patch{}, fmt.Errorf("there is no %c", bracket)
	}
	return insertion(at+within+1, text), nil
}

// insertBelow adds lines between the line of a node and its content.
func (e *editor) insertBelow(n, content *yaml.Node, lines []string) (patch, error) {
	if content != nil && content.Line == n.Line && content.Column > n.Column {
		return patch{}, errors.New("key and value share a line")
	}
	line, at, eol := e.line(n), e.lines[n.Line], "\n"
	ended := bytes.HasSuffix(line, []byte("\n"))
	if bytes.HasSuffix(line, []byte("\r\n")) || !ended && bytes.Contains(e.file, []byte("\r\n")) {
		eol = "\r\n"
	}
	text := strings.Join(lines, eol)
	if ended {
		return insertion(at, text+eol), nil
	}
	return insertion(at, eol+text), nil
}

// insertAfterColon gives a value to a key without one.
func (e *editor) insertAfterColon(mapping, key *yaml.Node, path []string,
	v yamlValue) (patch, error) {
	if mapping.Style&yaml.FlowStyle == 0 && (len(path) > 1 || v.items != nil) {
		return e.insertBelow(key, nil, v.blockField(path, mapping.Column-1)[1:])
	}
	at := e.offset(key)
	colon := bytes.IndexByte(e.file[at:e.lines[key.Line]], ':')
	if colon < 0 {
		return patch{}, errors.New("there is no colon after the key")
	}
	return insertion(at+colon+1, " "+v.flowAt(path[1:], e.json)), nil
}

// replaceEmpty replaces an empty string or an explicit null.
func (e *editor) replaceEmpty(old *yaml.Node, path []string, v yamlValue) (patch, error) {
	at := e.offset(old)
	for _, token := range []string{`""`, `''`, old.Value} {
		if (old.Value == "" || isNull(old)) && token != "" &&
			bytes.HasPrefix(e.file[at:], []byte(token)) {
			return patch{at, at + len(token), v.flowAt(path, e.json)}, nil
		}
	}
	return patch{}, errHasValue
}

// yamlValue is what an edit adds to a file: a text, or items before those of a list.
type yamlValue struct {
	text  string
	items []string
}

// String returns the value for messages.
func (v yamlValue) String() string { return v.flow(false) }

// blockField returns the lines of the path and the value. indent is that of the first line.
func (v yamlValue) blockField(path []string, indent int) []string {
	lead := strings.Repeat(" ", indent) + path[0] + ":"
	switch {
	case len(path) > 1:
		return append([]string{lead}, v.blockField(path[1:], indent+2)...)
	case v.items != nil:
		return append([]string{lead}, v.blockItems(indent+2)...)
	}
	return []string{lead + " " + quote(v.text, false)}
}

// blockItems returns the items, one per line.
func (v yamlValue) blockItems(indent int) []string {
	var lines []string
	for _, item := range v.items {
		lines = append(lines, strings.Repeat(" ", indent)+"- "+quote(item, false))
	}
	return lines
}

// flowField returns the path and the value on one line, without the outermost braces.
func (v yamlValue) flowField(path []string, json bool) string {
	name := path[0]
	if json {
		name = `"` + name + `"`
	}
	return name + ": " + v.flowAt(path[1:], json)
}

// flowAt returns the value below the rest of a path on one line.
func (v yamlValue) flowAt(path []string, json bool) string {
	if len(path) > 0 {
		return "{" + v.flowField(path, json) + "}"
	}
	return v.flow(json)
}

// flow returns the value on one line.
func (v yamlValue) flow(json bool) string {
	if v.items == nil {
		return quote(v.text, json)
	}
	var all []string
	for _, item := range v.items {
		all = append(all, quote(item, json))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// quote returns an address as YAML. IPv6 addresses need quotes: colons and brackets are syntax.
func quote(text string, always bool) string {
	_, errAddr := netip.ParseAddr(text)
	_, errPort := netip.ParseAddrPort(text)
	plain := (errAddr == nil || errPort == nil) && !strings.ContainsAny(text, "[") &&
		strings.Count(text, ":") < 2
	if plain && !always {
		return text
	}
	return `"` + text + `"`
}
