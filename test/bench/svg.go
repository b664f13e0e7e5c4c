package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/kvip/kvip/test/drill"
)

// Geometry of the plot in pixels: labels on the left, one band for each fault, one lane for
// each tool in it, and the time axis below.
const (
	plotWidth  = 880
	plotLeft   = 250
	plotRight  = plotWidth - 30
	plotTop    = 74
	bandHeight = 54
	laneHeight = 22
	axisHeight = 56
)

// The axis is logarithmic. Outages outside it are drawn at its ends.
const (
	axisMin = 5 * time.Millisecond
	axisMax = 30 * time.Second
)

const (
	inkColour    = "#24292f"
	faintColour  = "#57606a"
	gridColour   = "#d8dee4"
	targetColour = "#1a7f37"
	alarmColour  = "#cf222e"
)

// toolColours are told apart by people with any colour vision.
var toolColours = map[string]string{"kvip": "#0969da", "keepalived": "#bc6c00"}

// plot draws every run as a dot: a strip plot. It is an SVG document.
func plot(runs []run) string {
	faults := drill.Faults()
	bottom := plotTop + len(faults)*bandHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="-apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">`+"\n",
		plotWidth, bottom+axisHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	label(&b, 20, 26, "start", inkColour, 16, "Outage of the API server's address after a fault of its holder")
	legend(&b, 20, 50)
	axis(&b, bottom)
	for i, f := range faults {
		band(&b, plotTop+i*bandHeight, f, runs)
	}
	line(&b, 20, bottom, plotRight, bottom, gridColour, 1)
	b.WriteString("</svg>\n")
	return b.String()
}

// across converts an outage to a place on the axis.
func across(d time.Duration) float64 {
	d = min(max(d, axisMin), axisMax)
	part := math.Log(float64(d)/float64(axisMin)) / math.Log(float64(axisMax)/float64(axisMin))
	return plotLeft + part*(plotRight-plotLeft)
}

func legend(b *strings.Builder, x, y int) {
	for _, tool := range toolNames {
		fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4" fill="%s"/>`+"\n", x+4, y-4, toolColours[tool])
		label(b, x+14, y, "start", inkColour, 13, tool)
		x += 30 + 8*len(tool)
	}
	fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4.5" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", x+4, y-4, alarmColour)
	label(b, x+14, y, "start", inkColour, 13, "two holders were seen")
	x += 184
	line(b, float64(x+4), y-11, float64(x+4), y+3, targetColour, 2.5)
	label(b, x+14, y, "start", inkColour, 13, "target for kvip, 95 % of runs")
}

func axis(b *strings.Builder, bottom int) {
	for _, d := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second} {
		for part := time.Duration(1); part < 10 && d*part <= axisMax; part++ {
			width := 0.4
			if part == 1 {
				width = 1.2
				label(b, int(across(d)), bottom+20, "middle", faintColour, 12, strings.Replace(drill.Figure(d), ".00", "", 1))
			}
			line(b, across(d*part), plotTop, across(d*part), bottom+4, gridColour, width)
		}
	}
	label(b, (plotLeft+plotRight)/2, bottom+42, "middle", faintColour, 12, "longest time between successful requests (logarithmic; requests start every 10 ms)")
}

// band draws one fault: its name, the target, and a lane for each tool.
func band(b *strings.Builder, top int, f drill.Fault, runs []run) {
	line(b, 20, top, plotRight, top, gridColour, 1)
	label(b, 20, top+bandHeight/2+5, "start", inkColour, 13, f.Name)
	for i, tool := range toolNames {
		middle := float64(top) + 5 + laneHeight*(float64(i)+0.5)
		for _, r := range of(runs, tool, f.Key) {
			dot(b, r, middle)
		}
	}
	if f.Target > 0 {
		line(b, across(f.Target), top+4, across(f.Target), top+5+laneHeight, targetColour, 2.5)
	}
}

// dot draws a run, moved up or down a little so that equal ones are seen beside each other.
func dot(b *strings.Builder, r run, middle float64) {
	y := middle + float64(r.Number*3%7-3)*2.2
	ring := ""
	if r.Two > 0 {
		ring = fmt.Sprintf(` stroke="%s" stroke-width="1.5" stroke-opacity="1"`, alarmColour)
	}
	fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.2" fill="%s" fill-opacity="0.55"%s/>`+"\n", across(r.Outage), y, toolColours[r.Tool], ring)
}

func label(b *strings.Builder, x, y int, anchor, colour string, size int, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" fill="%s" font-size="%d">`, x, y, anchor, colour, size)
	_ = xml.EscapeText(b, []byte(text)) // a builder takes everything
	b.WriteString("</text>\n")
}

func line(b *strings.Builder, x1 float64, y1 int, x2 float64, y2 int, colour string, width float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colour, width)
}
