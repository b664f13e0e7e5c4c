package kubevip

import (
	"fmt"
	"slices"
	"strconv"
)

// Variable is one row of the table of environment variables.
type Variable struct {
	// Name is the variable.
	Name string
	// Flag is the flag of `kube-vip manager` that means the same, without dashes. Empty: there is none.
	Flag string
	// Boolean says that the flag may stand without a value.
	Boolean bool
	// Support is what becomes of it.
	Support Support
	// Meaning is what it means here, or what happens instead.
	Meaning string
	// RefusedIf is when kvip does not start with it. Empty: never, or always if that is its fate.
	RefusedIf string

	// Requires is another variable, a Boolean one, that must be true for this one to matter. Empty: it always does.
	Requires string

	// set takes a value that was given; nil: nothing is to be taken.
	set func(*parser, string) error
	// empty takes the empty value of a flag; nil: that is as if it were not given.
	empty func(*parser)
	// same are values that ask for nothing but what kvip does anyway. They are not worth a note.
	same []string
}

// Variables returns the table, in the order of the documentation.
func Variables() []Variable { return slices.Concat(understood, without) }

// parser is what was read, before its parts are seen together.
type parser struct {
	Settings
	values  map[string]string
	emptied map[string]bool // a flag says that it is empty, and no variable says anything
	notes   []Note
}

// note adds one.
func (r *parser) note(name, format string, args ...any) {
	r.notes = append(r.notes, Note{Name: name, Text: fmt.Sprintf(format, args...)})
}

// is says whether a variable is given and true.
func (r *parser) is(name string) bool {
	value, err := strconv.ParseBool(r.values[name])
	return err == nil && value
}

// text takes a value as it is.
func text(field func(*parser) *string) func(*parser, string) error {
	return func(r *parser, value string) error {
		*field(r) = value
		return nil
	}
}

// truth takes the spellings of a truth value that Go programs know.
func truth(field func(*parser) *bool) func(*parser, string) error {
	return func(r *parser, value string) error {
		parsed, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		*field(r) = parsed
		return nil
	}
}

// number takes a whole number within bounds.
func number(least, most int, take func(*parser, int)) func(*parser, string) error {
	return func(r *parser, value string) error {
		parsed, err := strconv.Atoi(value)
		if err != nil || parsed < least || parsed > most {
			return fmt.Errorf("%q is not a whole number from %d to %d", value, least, most)
		}
		take(r, parsed)
		return nil
	}
}

// needsValue reports whether kvip must know the value of the variable to act on it, and not only that there is one.
func (v Variable) needsValue() bool {
	return v.set != nil || v.Boolean || v.Support == Refused || v.Name == portOfBalancer
}

// portOfBalancer is compared with port, though kvip has no load balancer.
const portOfBalancer = "lb_port"

// checked only refuses what is no truth value; who asks for it is reading.is.
func checked(_ *parser, value string) error {
	return truth(func(*parser) *bool { return new(bool) })(nil, value)
}
