package benchreport

import (
	"fmt"
	"slices"
	"strings"
)

// Choose returns those of all that a list names, in the order of all.
func Choose(variable, list string, all []string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return all, nil
	}
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("read %s: there is no %q, but %s", variable, name,
				strings.Join(all, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all),
		func(name string) bool { return !slices.Contains(names, name) }), nil
}
