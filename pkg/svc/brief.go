package svc

import "github.com/kvip/kvip/pkg/printable"

// Brief makes a message that quotes what users wrote safe for the terminal of who reads it in a
// condition or an Event, and cuts it to the length that the API takes.
func Brief(text string) string { return printable.Message(text) }

// cut shortens a text to n bytes, and says so with three dots.
func cut(text string, n int) string { return printable.Cut(text, n) }
