package kubeadm

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// leaf is what an edit puts into a file: a text, or items in front of those of a list.
type leaf struct {
	text  string
	items []string
}

// set returns the file with the leaf at the path of a document, and every other byte as it was. It
// reads its own work again and gives up where that is not exactly what was meant.
func (f *File) set(d *document, path []string, what leaf) (*File, error) {
	field := strings.Join(path, ".")
	at, until, text, err := f.splice(d, path, what)
	if err != nil {
		return nil, f.refuse(d, d.find(field), field, fmt.Sprintf("cannot be set here: %v; set it to %s by hand", err, what))
	}
	edited, err := Parse(f.name, slices.Concat(f.data[:at], []byte(text), f.data[until:]))
	if err != nil || len(edited.docs) != len(f.docs) ||
		!reflect.DeepEqual(edited.docs[d.number-1].values, with(d.values, path, what)) {
		return nil, f.refuse(d, d.find(field), field, fmt.Sprintf("is written in a way that kvip cannot edit; set it to %s by hand", what))
	}
	return edited, nil
}

// String shows a leaf in messages.
func (l leaf) String() string { return l.flow(false) }

// with returns a copy of values with the leaf at the path.
func with(values map[string]any, path []string, what leaf) map[string]any {
	values = maps.Clone(values)
	if values == nil {
		values = map[string]any{}
	}
	if len(path) > 1 {
		child, _ := values[path[0]].(map[string]any)
		values[path[0]] = with(child, path[1:], what)
		return values
	}
	if what.items == nil {
		values[path[0]] = what.text
		return values
	}
	old, _ := values[path[0]].([]any)
	var all []any
	for _, item := range what.items {
		all = append(all, item)
	}
	values[path[0]] = append(all, old...)
	return values
}

// splice finds which bytes of the file to replace with which text.
func (f *File) splice(d *document, path []string, what leaf) (at, until int, text string, err error) {
	p := newPage(f, d)
	node, above := d.root, p.head(d.root)
	for i, name := range path {
		key, value := pair(node, name)
		rest := path[i:]
		switch {
		case key == nil:
			return p.insert(node, above, rest, what)
		case value.Kind == yaml.AliasNode:
			return 0, 0, "", fmt.Errorf("line %d uses an alias", d.lineOf(value))
		case value.Kind == yaml.ScalarNode && value.Value == "" && value.Style&^yaml.TaggedStyle == 0:
			return p.afterColon(node, key, rest, what)
		case value.Kind == yaml.ScalarNode:
			return p.replace(value, rest[1:], what)
		}
		node, above = value, key
	}
	return p.prepend(node, above, what)
}

// page is a document as text, to find places in.
type page struct {
	file  []byte
	lines []int // where each line of the document begins in the file, and where the last one ends
	json  bool  // keys are quoted
}

// newPage finds the lines as the YAML parser counts them, which knows more line breaks than "\n".
func newPage(f *File, d *document) *page {
	p := &page{file: f.data, lines: []int{d.start}}
	text := f.data[d.start:d.end]
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		if r == '\r' && i < len(text) && text[i] == '\n' {
			i++
			r = '\n'
		}
		if i < len(text) && (r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029') {
			p.lines = append(p.lines, d.start+i)
		}
	}
	p.lines = append(p.lines, d.end)
	p.json = d.root.Style&yaml.FlowStyle != 0 && len(d.root.Content) > 0 && d.root.Content[0].Style&yaml.DoubleQuotedStyle != 0
	return p
}

// head returns the node below whose line new fields of a document go: its apiVersion or kind.
func (p *page) head(root *yaml.Node) *yaml.Node {
	_, version := pair(root, "apiVersion")
	_, kind := pair(root, "kind")
	if version.Line > kind.Line {
		return version
	}
	return kind
}

// offset returns where a node begins in the file.
func (p *page) offset(n *yaml.Node) int {
	at := p.lines[n.Line-1]
	at += len(p.file[at:]) - len(bytes.TrimPrefix(p.file[at:], []byte("\ufeff")))
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(p.file[at:])
		at += size
	}
	return at
}

// insert puts a new field into a mapping: as first of a flow mapping, else on lines of its own below
// the line of above, so that comments stay with what they are about.
func (p *page) insert(mapping, above *yaml.Node, path []string, what leaf) (at, until int, text string, err error) {
	if mapping.Style&yaml.FlowStyle != 0 {
		return p.first(mapping, '{', what.nested(path, p.json))
	}
	begin := p.begin(mapping)
	return p.below(above, begin, what.block(path, begin.Column-1))
}

// prepend puts items before those of a list.
func (p *page) prepend(list, key *yaml.Node, what leaf) (at, until int, text string, err error) {
	if list.Kind != yaml.SequenceNode || what.items == nil {
		return 0, 0, "", fmt.Errorf("there is a value already")
	}
	if list.Style&yaml.FlowStyle != 0 {
		return p.first(list, '[', strings.Trim(what.flow(p.json), "[]"))
	}
	begin := p.begin(list)
	return p.below(key, begin, what.lines(begin.Column-1))
}

// begin returns where a block collection's first entry begins, which is not where its anchor is.
func (p *page) begin(n *yaml.Node) *yaml.Node {
	if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 || len(n.Content) == 0 {
		return n
	}
	entry := *n.Content[0]
	if n.Kind == yaml.SequenceNode {
		line := p.file[p.lines[entry.Line-1]:p.lines[entry.Line]]
		entry.Column = bytes.IndexByte(line, '-') + 1
	}
	return &entry
}

// first puts text at the beginning of a flow collection.
func (p *page) first(n *yaml.Node, bracket byte, text string) (at, until int, all string, err error) {
	if len(n.Content) > 0 {
		at = p.offset(n.Content[0])
		return at, at, text + ", ", nil
	}
	at = p.offset(n)
	if p.file[at] != bracket {
		return 0, 0, "", fmt.Errorf("the value has an anchor or a tag")
	}
	return at + 1, at + 1, text, nil
}

// below puts lines between the line of a node and what belongs to it.
func (p *page) below(n, content *yaml.Node, lines []string) (at, until int, text string, err error) {
	if content != nil && content.Line == n.Line && content.Column > n.Column {
		return 0, 0, "", fmt.Errorf("key and value share a line")
	}
	line := p.file[p.lines[n.Line-1]:p.lines[n.Line]]
	at = p.lines[n.Line]
	eol := "\n"
	if bytes.HasSuffix(line, []byte("\r\n")) || !bytes.HasSuffix(line, []byte("\n")) && bytes.Contains(p.file, []byte("\r\n")) {
		eol = "\r\n"
	}
	text = strings.Join(lines, eol)
	if bytes.HasSuffix(line, []byte("\n")) {
		return at, at, text + eol, nil
	}
	return at, at, eol + text, nil
}

// afterColon gives a value to a key that has none.
func (p *page) afterColon(mapping, key *yaml.Node, path []string, what leaf) (at, until int, text string, err error) {
	if mapping.Style&yaml.FlowStyle == 0 && (len(path) > 1 || what.items != nil) {
		return p.below(key, nil, what.block(path, mapping.Column-1)[1:])
	}
	at = p.offset(key)
	colon := bytes.IndexByte(p.file[at:p.lines[key.Line]], ':')
	if colon < 0 {
		return 0, 0, "", fmt.Errorf("there is no colon after the key")
	}
	at += colon + 1
	return at, at, " " + what.under(path[1:], p.json), nil
}

// replace puts the leaf in the place of an empty text or a written null.
func (p *page) replace(old *yaml.Node, path []string, what leaf) (at, until int, text string, err error) {
	at = p.offset(old)
	for _, token := range []string{`""`, `''`, old.Value} {
		if (old.Value == "" || isNull(old)) && token != "" && bytes.HasPrefix(p.file[at:], []byte(token)) {
			return at, at + len(token), what.under(path, p.json), nil
		}
	}
	return 0, 0, "", fmt.Errorf("there is a value already")
}

// block writes the path and the leaf as lines, the first of them indented by so many spaces.
func (l leaf) block(path []string, indent int) []string {
	lead := strings.Repeat(" ", indent) + path[0] + ":"
	switch {
	case len(path) > 1:
		return append([]string{lead}, l.block(path[1:], indent+2)...)
	case l.items != nil:
		return append([]string{lead}, l.lines(indent+2)...)
	}
	return []string{lead + " " + quote(l.text, false)}
}

// lines writes the items, one on each line.
func (l leaf) lines(indent int) []string {
	var lines []string
	for _, item := range l.items {
		lines = append(lines, strings.Repeat(" ", indent)+"- "+quote(item, false))
	}
	return lines
}

// nested writes the path and the leaf on one line, without the outermost braces.
func (l leaf) nested(path []string, json bool) string {
	name := path[0]
	if json {
		name = `"` + name + `"`
	}
	return name + ": " + l.under(path[1:], json)
}

// under writes what stands behind a key on one line.
func (l leaf) under(path []string, json bool) string {
	if len(path) > 0 {
		return "{" + l.nested(path, json) + "}"
	}
	return l.flow(json)
}

// flow writes the leaf on one line.
func (l leaf) flow(json bool) string {
	if l.items == nil {
		return quote(l.text, json)
	}
	var all []string
	for _, item := range l.items {
		all = append(all, quote(item, json))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// quote writes an address as YAML: IPv6 has characters that mean something there.
func quote(text string, always bool) string {
	_, single := netip.ParseAddr(text)
	_, both := netip.ParseAddrPort(text)
	if plain := (single == nil || both == nil) && !strings.ContainsAny(text, "[") && strings.Count(text, ":") < 2; plain && !always {
		return text
	}
	return `"` + text + `"`
}
