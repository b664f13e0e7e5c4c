package kubeadm

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// editor is a document as text, to find places in.
type editor struct {
	file  []byte
	lines []int // where each line of the document begins in the file, and where the last one ends
	json  bool  // keys are quoted
}

// newPage finds the lines as the YAML parser counts them, which knows more line breaks than "\n".
func newPage(f *File, d *document) *editor {
	p := &editor{file: f.data, lines: []int{d.start}}
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
func (p *editor) head(root *yaml.Node) *yaml.Node {
	_, version := pair(root, "apiVersion")
	_, kind := pair(root, "kind")
	if version.Line > kind.Line {
		return version
	}
	return kind
}

// offset returns where a node begins in the file.
func (p *editor) offset(n *yaml.Node) int {
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
func (p *editor) insert(mapping, above *yaml.Node, path []string, what yamlValue) (at, until int, text string, err error) {
	if mapping.Style&yaml.FlowStyle != 0 {
		return p.first(mapping, '{', what.nested(path, p.json))
	}
	begin := p.begin(mapping)
	return p.below(above, begin, what.block(path, begin.Column-1))
}

// prepend puts items before those of a list.
func (p *editor) prepend(list, key *yaml.Node, what yamlValue) (at, until int, text string, err error) {
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
func (p *editor) begin(n *yaml.Node) *yaml.Node {
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
func (p *editor) first(n *yaml.Node, bracket byte, text string) (at, until int, all string, err error) {
	if len(n.Content) > 0 {
		at = p.offset(n.Content[0])
		return at, at, text + ", ", nil
	}
	at = p.offset(n) // of its anchor or tag, where it has one
	within := bytes.IndexByte(p.file[at:], bracket)
	if within < 0 {
		return 0, 0, "", fmt.Errorf("there is no %c", bracket)
	}
	at += within + 1
	return at, at, text, nil
}

// below puts lines between the line of a node and what belongs to it.
func (p *editor) below(n, content *yaml.Node, lines []string) (at, until int, text string, err error) {
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
func (p *editor) afterColon(mapping, key *yaml.Node, path []string, what yamlValue) (at, until int, text string, err error) {
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
func (p *editor) replace(old *yaml.Node, path []string, what yamlValue) (at, until int, text string, err error) {
	at = p.offset(old)
	for _, token := range []string{`""`, `''`, old.Value} {
		if (old.Value == "" || isNull(old)) && token != "" && bytes.HasPrefix(p.file[at:], []byte(token)) {
			return at, at + len(token), what.under(path, p.json), nil
		}
	}
	return 0, 0, "", fmt.Errorf("there is a value already")
}
