package benchreport

import (
	"strconv"
	"time"
)

// Fields converts the fields of a row and keeps the first error.
type Fields struct {
	Row []string
	Err error
}

// Int reads a whole number.
func (f *Fields) Int(i int) int {
	n, err := strconv.Atoi(f.Row[i])
	f.note(err)
	return n
}

// Float reads a number.
func (f *Fields) Float(i int) float64 {
	x, err := strconv.ParseFloat(f.Row[i], 64)
	f.note(err)
	return x
}

// Millis reads what Millis wrote.
func (f *Fields) Millis(i int) time.Duration {
	return time.Duration(f.Float(i) * float64(time.Millisecond))
}

// Time reads what Stamp wrote.
func (f *Fields) Time(i int) time.Time {
	t, err := time.Parse(time.RFC3339, f.Row[i])
	f.note(err)
	return t
}

func (f *Fields) note(err error) {
	if f.Err == nil {
		f.Err = err
	}
}

// Millis is a duration in milliseconds.
func Millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64)
}

// Decimal is a number with two digits after the point.
func Decimal(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// Stamp is an instant to the second.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
