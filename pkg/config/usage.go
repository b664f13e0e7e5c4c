package config

// UsageError is a setting that kvip refuses before it touches anything. Commands exit with 2 on it.
type UsageError struct {
	// Flag is the flag's name without dashes, such as "vip".
	Flag string
	// Reason is what is wrong with the value, quoting it.
	Reason string
	// Hint is what to do instead. It may be empty.
	Hint string
}

// Error names the flag, the reason and the way out, in this order.
func (e *UsageError) Error() string {
	dashes := "--"
	if len(e.Flag) == 1 {
		dashes = "-"
	}
	text := dashes + e.Flag + ": " + e.Reason
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}
