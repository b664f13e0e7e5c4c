package kubeadm

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// set returns the file with the leaf at the path of a document, and every other byte as it was. It
// reads its own work again and gives up where that is not exactly what was meant.
func (f *File) set(d *document, path []string, what yamlValue) (*File, error) {
	field := strings.Join(path, ".")
	at, until, text, err := f.patch(d, path, what)
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

// with returns a copy of values with the leaf at the path.
func with(values map[string]any, path []string, what yamlValue) map[string]any {
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

// patch finds which bytes of the file to replace with which text.
func (f *File) patch(d *document, path []string, what yamlValue) (at, until int, text string, err error) {
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
