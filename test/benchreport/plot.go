package benchreport

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Colours of drawings: text, lesser text, the grid, what is to be reached, and what is wrong. The
// series beside them are distinguishable with any colour vision.
const (
	Ink    = "#24292f"
	Faint  = "#57606a"
	Grid   = "#d8dee4"
	Target = "#1a7f37"
	Alarm  = "#cf222e"
	Blue   = "#0969da"
	Orange = "#bc6c00"
)

// OpenPlot begins an SVG document of that size in pixels; ClosePlot ends it.
func OpenPlot(b *strings.Builder, width, height int) {
	const fonts = "-apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" `+
		`font-family="%s" font-size="13">`+"\n", width, height, fonts)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
}

// ClosePlot ends the document.
func ClosePlot(b *strings.Builder) { b.WriteString("</svg>\n") }

// Label writes a text; anchor is start, middle or end.
func Label(b *strings.Builder, x, y int, anchor, colour string, size int, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" fill="%s" font-size="%d">`, x, y, anchor,
		colour, size)
	_ = xml.EscapeText(b, []byte(text)) // a builder takes everything
	b.WriteString("</text>\n")
}

// Line draws a line; its y are whole pixels.
func Line(b *strings.Builder, x1 float64, y1 int, x2 float64, y2 int, colour string,
	width float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="%.1f"/>`+"\n",
		x1, y1, x2, y2, colour, width)
}
