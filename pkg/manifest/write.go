package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"
)

// Write prints the objects as YAML documents, in order. Equal objects give equal bytes: keys are
// sorted, and what only a server fills in (creationTimestamp, status) is left out.
func Write(w io.Writer, objects ...any) error {
	var out bytes.Buffer
	for i, object := range objects {
		document, err := marshal(object)
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(document)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

func marshal(object any) ([]byte, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", object, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // as a float, a priority would be printed with an exponent
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, fmt.Errorf("encode %T: %w", object, err)
	}
	delete(fields, "status")
	dropNulls(fields)
	document, err := yaml.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", object, err)
	}
	return document, nil
}

// dropNulls removes what typed objects print for fields that only a server fills in. Empty objects
// stay: in Kubernetes they can mean something (emptyDir: {}).
func dropNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			if item == nil {
				delete(v, key)
			} else {
				dropNulls(item)
			}
		}
	case []any:
		for _, item := range v {
			dropNulls(item)
		}
	}
}
