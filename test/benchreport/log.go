package benchreport

import (
	"regexp"
	"strings"
	"time"
)

// logTime finds the time in a line of slog's text format.
var logTime = regexp.MustCompile(`time=(\S+)`)

// LogSince returns the lines of a log from an instant on.
func LogSince(log string, from time.Time) []string {
	var kept []string
	for line := range strings.Lines(log) {
		m := logTime.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, m[1]); err == nil && !at.Before(from) {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return kept
}
