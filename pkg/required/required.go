// Package required checks that the configuration of a component is complete.
package required

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Fields returns an error for each field of a component's configuration that is missing, in the
// order of the names. It returns nil if none is.
func Fields(component string, missing map[string]bool) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		if missing[name] {
			errs = append(errs, fmt.Errorf("configure %s: %s is required", component, name))
		}
	}
	return errors.Join(errs...)
}
