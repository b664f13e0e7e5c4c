package config

import "fmt"

// InputError is a file of the user that cannot be used as it is. Commands end with exit code 2.
type InputError struct {
	// File is the name of the file, as the user gave it.
	File string
	// Document counts from 1; 0: the file as a whole.
	Document int
	// Line counts from 1 in the file; 0: unknown.
	Line int
	// Field is the path of the field, such as networking.podSubnet; empty: the document as a whole.
	Field string
	// Problem is what is wrong and what to do.
	Problem string
	// Cause is the error behind the problem, or nil.
	Cause error
}

// Error names file, document, line and field, as far as they are known, and the problem.
func (e *InputError) Error() string {
	text := e.File
	if e.Document > 0 {
		text += fmt.Sprintf(", document %d", e.Document)
	}
	if e.Line > 0 {
		text += fmt.Sprintf(", line %d", e.Line)
	}
	if e.Field != "" {
		text += ": " + e.Field
	}
	return text + ": " + e.Problem
}

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Cause }
