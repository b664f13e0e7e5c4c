package policy

import (
	"fmt"
	"slices"
)

// Operator is the operator of a Requirement, as Kubernetes names it.
type Operator string

// The operators of label selectors (Kubernetes documentation, "Labels and Selectors").
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Requirement is one condition on labels.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Check returns an error if a requirement cannot hold or fail.
func (r Requirement) Check() error {
	switch r.Operator {
	case In, NotIn:
		if len(r.Values) == 0 {
			return fmt.Errorf("label %s: operator %s needs values", r.Key, r.Operator)
		}
	case Exists, DoesNotExist:
		if len(r.Values) > 0 {
			return fmt.Errorf("label %s: operator %s has no values", r.Key, r.Operator)
		}
	default:
		return fmt.Errorf("label %s: operator %q is unknown", r.Key, r.Operator)
	}
	return nil
}

// Selector selects objects by their labels: all requirements must hold. Without any it selects
// every object.
type Selector []Requirement

// Matches reports whether the selector selects an object with these labels. A requirement with an
// unknown operator selects nothing.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s {
		value, has := labels[r.Key]
		listed := has && slices.Contains(r.Values, value)
		holds := false
		switch r.Operator {
		case In:
			holds = listed
		case NotIn:
			holds = !listed
		case Exists:
			holds = has
		case DoesNotExist:
			holds = !has
		}
		if !holds {
			return false
		}
	}
	return true
}

// matchesAny reports whether one of the selectors selects the labels, or there are none.
func matchesAny(selectors []Selector, labels map[string]string) bool {
	return len(selectors) == 0 ||
		slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(labels) })
}
