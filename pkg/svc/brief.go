package svc

import "strings"

// maxBrief is how long a message may be: that of an Event has 1024 bytes at most.
const maxBrief = 1024

// Brief cuts a message that quotes what users wrote to the length that the API takes.
func Brief(text string) string { return cut(text, maxBrief) }

// cut shortens a text to n bytes, and says so with three dots.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("...")], "") + "..."
}
