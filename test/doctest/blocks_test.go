package doctest

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	const fence = "```"
	for _, test := range []struct {
		name, text string
		want       []Block
	}{
		{"no block", "# Page\nsome `sh` here\n", nil},
		{"another language", fence + "text\na\n" + fence + "\n", nil},
		{"no comment", fence + "sh\na\n" + fence + "\n", []Block{{Line: 2, Text: "a\n"}}},
		{"a place", "# Page\n<!-- run: one two on three -->\n" + fence + "sh\na\nb\n" + fence + "\n",
			[]Block{{Line: 4, Story: "one two", Place: "three", Text: "a\nb\n"}}},
		{"no place", "<!-- run: one -->\n" + fence + "sh\na\n" + fence + "\n",
			[]Block{{Line: 3, Story: "one", Text: "a\n"}}},
		{"not run", "<!-- not run: it takes a day -->\n" + fence + "sh\na\n" + fence + "\n",
			[]Block{{Line: 3, Why: "it takes a day", Text: "a\n"}}},
		{"another comment", "<!-- begin -->\n" + fence + "sh\na\n" + fence + "\n",
			[]Block{{Line: 3, Text: "a\n"}}},
		{"a comment further up", "<!-- run: one -->\n\n" + fence + "sh\na\n" + fence + "\n",
			[]Block{{Line: 4, Text: "a\n"}}},
		{"two", fence + "sh\na\n" + fence + "\ntext\n<!-- run: one on two -->\n" + fence + "sh\nb\n" +
			fence + "\n",
			[]Block{{Line: 2, Text: "a\n"}, {Line: 7, Story: "one", Place: "two", Text: "b\n"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := parse("", test.text); !slices.Equal(got, test.want) {
				t.Errorf("got\n%#v\nwant\n%#v", got, test.want)
			}
		})
	}
}
