package failoverbench

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
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
	axisLeast = 5 * time.Millisecond
	axisMost  = 30 * time.Second
)

// toolColours are distinguishable with any colour vision.
var toolColours = map[string]string{
	failover.KvipName: benchreport.Blue, failover.KvipQuick: benchreport.Blue,
	failover.KeepalivedName: benchreport.Orange,
}

// lanes are the tools of a fault's band, from above.
func lanes(f failover.Fault) []string {
	return []string{cmp.Or(f.Tool, failover.KvipName), failover.KeepalivedName}
}

// plot draws every run as a dot: a strip plot. It is an SVG document.
func plot(runs []run) string {
	faults := failover.Faults()
	bottom := plotTop + len(faults)*bandHeight
	var b strings.Builder
	benchreport.OpenPlot(&b, plotWidth, bottom+axisHeight)
	benchreport.Label(&b, 20, 26, "start", benchreport.Ink, 16,
		"Outage of the API server's address after a fault of its holder")
	legend(&b, 20, 50)
	axis(&b, bottom)
	for i, f := range faults {
		band(&b, plotTop+i*bandHeight, f, runs)
	}
	benchreport.Line(&b, 20, bottom, plotRight, bottom, benchreport.Grid, 1)
	benchreport.ClosePlot(&b)
	return b.String()
}

// across converts an outage to a place on the axis.
func across(d time.Duration) float64 {
	d = min(max(d, axisLeast), axisMost)
	part := math.Log(float64(d)/float64(axisLeast)) / math.Log(float64(axisMost)/float64(axisLeast))
	return plotLeft + part*(plotRight-plotLeft)
}

func legend(b *strings.Builder, x, y int) {
	for _, tool := range []string{failover.KvipName, failover.KeepalivedName} {
		fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4" fill="%s"/>`+"\n", x+4, y-4, toolColours[tool])
		benchreport.Label(b, x+14, y, "start", benchreport.Ink, 13, tool)
		x += 30 + 8*len(tool)
	}
	fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4.5" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n",
		x+4, y-4, benchreport.Alarm)
	benchreport.Label(b, x+14, y, "start", benchreport.Ink, 13, "two holders were seen")
	x += 184
	benchreport.Line(b, float64(x+4), y-11, float64(x+4), y+3, benchreport.Target, 2.5)
	benchreport.Label(b, x+14, y, "start", benchreport.Ink, 13, "target for kvip, 95 % of runs")
}

func axis(b *strings.Builder, bottom int) {
	for _, d := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second,
		10 * time.Second} {
		for part := time.Duration(1); part < 10 && d*part <= axisMost; part++ {
			width := 0.4
			if part == 1 {
				width = 1.2
				benchreport.Label(b, int(across(d)), bottom+20, "middle", benchreport.Faint, 12,
					strings.Replace(failover.Figure(d), ".00", "", 1))
			}
			benchreport.Line(b, across(d*part), plotTop, across(d*part), bottom+4, benchreport.Grid, width)
		}
	}
	benchreport.Label(b, (plotLeft+plotRight)/2, bottom+42, "middle", benchreport.Faint, 12,
		"longest time between successful requests (logarithmic; requests start every 10 ms)")
}

// band draws one fault: its name, the target, and a lane for each tool.
func band(b *strings.Builder, top int, f failover.Fault, runs []run) {
	benchreport.Line(b, 20, top, plotRight, top, benchreport.Grid, 1)
	benchreport.Label(b, 20, top+bandHeight/2+5, "start", benchreport.Ink, 13, f.Name)
	for i, tool := range lanes(f) {
		middle := float64(top) + 5 + laneHeight*(float64(i)+0.5)
		for _, r := range of(runs, tool, f.Key) {
			dot(b, r, middle)
		}
	}
	if f.Target > 0 {
		benchreport.Line(b, across(f.Target), top+4, across(f.Target), top+5+laneHeight,
			benchreport.Target, 2.5)
	}
}

// dot draws a run, moved up or down a little so that equal ones are seen beside each other.
func dot(b *strings.Builder, r run, middle float64) {
	y := middle + float64(r.Number*3%7-3)*2.2
	ring := ""
	if r.Two > 0 {
		ring = fmt.Sprintf(` stroke="%s" stroke-width="1.5" stroke-opacity="1"`, benchreport.Alarm)
	}
	fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.2" fill="%s" fill-opacity="0.55"%s/>`+"\n",
		across(r.Outage), y, toolColours[r.Tool], ring)
}
