package benchreport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Section is a part of a page that a program writes, between two marks.
type Section struct {
	Name   string
	Target string // of make, which writes it
}

// Marks are the lines before and behind.
func (s Section) Marks() (begin, end string) {
	return "<!-- " + s.Name + ": begin, written by make " + s.Target + " -->", "<!-- " + s.Name +
		": end -->"
}

// Empty is the section with nothing in it.
func (s Section) Empty() string {
	begin, end := s.Marks()
	return begin + "\n" + end + "\n"
}

// Replace replaces what is between the marks, which must be in the page once. Lines of prose are
// wrapped.
func (s Section) Replace(page, text string) (string, error) {
	begin, end := s.Marks()
	if strings.Count(page, begin) != 1 || strings.Count(page, end) != 1 ||
		strings.Index(page, begin) > strings.Index(page, end) {
		return "", fmt.Errorf("write section %s: want once %q and then once %q in benchmarks.md", s.Name,
			begin, end)
	}
	before, rest, _ := strings.Cut(page, begin)
	_, after, _ := strings.Cut(rest, end)
	return before + begin + "\n" + wrap(strings.TrimSpace(text)) + "\n" + end + after, nil
}

// wrap breaks lines of prose at 100 columns, and leaves tables and images.
func wrap(text string) string {
	const columns = 100
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "!") {
			out = append(out, line)
			continue
		}
		part := ""
		for _, word := range strings.Fields(line) {
			if part != "" && len(part)+1+len(word) > columns {
				out, part = append(out, part), ""
			}
			part = strings.TrimPrefix(part+" "+word, " ")
		}
		out = append(out, part)
	}
	return strings.Join(out, "\n")
}

// Plural is a number of things, as in "1 run" and "2 runs".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Part is a section of a page with its text.
type Part struct {
	Section
	Text string
}

// UpdatePage writes sections of docs/benchmarks.md, and creates the page if it is missing.
func UpdatePage(docs string, parts ...Part) error {
	path := filepath.Join(docs, "benchmarks.md")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		empty := "# Benchmarks\n"
		for _, p := range parts {
			empty += "\n" + p.Empty()
		}
		text, err = []byte(empty), nil
	}
	if err != nil {
		return err
	}
	page := string(text)
	for _, p := range parts {
		if page, err = p.Replace(page, p.Text); err != nil {
			return err
		}
	}
	return Save(path, page)
}

// Distinct joins the different values of a list, in their order, with "and".
func Distinct[T any](list []T, value func(T) string) string {
	var all []string
	for _, one := range list {
		if v := value(one); !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return strings.Join(all, " and ")
}

// Range is a number of things between two bounds, as in "1 run" and "18 to 20 runs".
func Range(least, most int, what string) string {
	if least < most {
		return fmt.Sprintf("%d to %s", least, Plural(most, what))
	}
	return Plural(most, what)
}
