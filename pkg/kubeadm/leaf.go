package kubeadm

import (
	"net/netip"
	"strings"
)

// yamlValue is what an edit puts into a file: a text, or items in front of those of a list.
type yamlValue struct {
	text  string
	items []string
}

// String shows a leaf in messages.
func (l yamlValue) String() string { return l.flow(false) }

// block writes the path and the leaf as lines, the first of them indented by so many spaces.
func (l yamlValue) block(path []string, indent int) []string {
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
func (l yamlValue) lines(indent int) []string {
	var lines []string
	for _, item := range l.items {
		lines = append(lines, strings.Repeat(" ", indent)+"- "+quote(item, false))
	}
	return lines
}

// nested writes the path and the leaf on one line, without the outermost braces.
func (l yamlValue) nested(path []string, json bool) string {
	name := path[0]
	if json {
		name = `"` + name + `"`
	}
	return name + ": " + l.under(path[1:], json)
}

// under writes what stands behind a key on one line.
func (l yamlValue) under(path []string, json bool) string {
	if len(path) > 0 {
		return "{" + l.nested(path, json) + "}"
	}
	return l.flow(json)
}

// flow writes the leaf on one line.
func (l yamlValue) flow(json bool) string {
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
