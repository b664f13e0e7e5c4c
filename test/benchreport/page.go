package benchreport

import (
	"fmt"
	"strings"
)

// Section is a part of a page that a program writes, between two marks.
type Section struct {
	Name   string
	Target string // of make, which writes it
}

// Marks are the lines before and behind.
func (s Section) Marks() (begin, end string) {
	return "<!-- " + s.Name + ": begin, written by make " + s.Target + " -->", "<!-- " + s.Name + ": end -->"
}

// Empty is the section with nothing in it.
func (s Section) Empty() string {
	begin, end := s.Marks()
	return begin + "\n" + end + "\n"
}

// Replace replaces what is between the marks, which must be in the page once.
func (s Section) Replace(page, text string) (string, error) {
	begin, end := s.Marks()
	if strings.Count(page, begin) != 1 || strings.Count(page, end) != 1 || strings.Index(page, begin) > strings.Index(page, end) {
		return "", fmt.Errorf("write section %s: want once %q and then once %q in benchmarks.md", s.Name, begin, end)
	}
	before, rest, _ := strings.Cut(page, begin)
	_, after, _ := strings.Cut(rest, end)
	return before + begin + "\n" + strings.TrimSpace(text) + "\n" + end + after, nil
}

// Plural is a number of things, as in "1 run" and "2 runs".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
