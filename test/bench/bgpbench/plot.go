package bgpbench

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// Geometry of the plot in pixels: labels on the left, one band for each fault, one lane for each
// speaker in it that meets the fault, and the time axis below.
const (
	plotWidth  = 960
	plotLeft   = 330
	plotRight  = plotWidth - 30
	plotTop    = 74
	laneHeight = 16
	bandSpace  = 10
	axisHeight = 56
)

// The axis is logarithmic. Outages outside it are drawn at its ends.
const (
	axisLeast = 10 * time.Millisecond
	axisMost  = 20 * time.Second
)

// colours of kinds are distinguishable with any colour vision.
var colours = map[string]string{
	kvipKind: benchreport.Blue, birdKind: benchreport.Orange, metallbKind: benchreport.Faint,
}

// lanes are the speakers of a fault's band, from above.
func lanes(f fault) (names []string) {
	for _, name := range speakerNames {
		kind, timers, _ := strings.Cut(name, "-")
		if f.meets(&kvip{agent: agent{identity: identity{kindName: kind, timersName: timers}}}) {
			names = append(names, name)
		}
	}
	return names
}

// plot draws every run as a dot: a strip plot. It is an SVG document.
func plot(runs []run) string {
	bottom := plotTop
	for _, f := range faults() {
		bottom += bandHeight(f)
	}
	var b strings.Builder
	benchreport.OpenPlot(&b, plotWidth, bottom+axisHeight)
	benchreport.Label(&b, 20, 26, "start", benchreport.Ink, 16,
		"Outage behind routers after a fault of a node that announces the address by BGP")
	legend(&b, 20, 50)
	axis(&b, bottom)
	top := plotTop
	for _, f := range faults() {
		band(&b, top, f, runs)
		top += bandHeight(f)
	}
	benchreport.Line(&b, 20, bottom, plotRight, bottom, benchreport.Grid, 1)
	benchreport.ClosePlot(&b)
	return b.String()
}

func bandHeight(f fault) int { return len(lanes(f))*laneHeight + bandSpace }

// across converts an outage to a place on the axis.
func across(d time.Duration) float64 {
	d = min(max(d, axisLeast), axisMost)
	part := math.Log(float64(d)/float64(axisLeast)) / math.Log(float64(axisMost)/float64(axisLeast))
	return plotLeft + part*(plotRight-plotLeft)
}

func legend(b *strings.Builder, x, y int) {
	for _, kind := range []string{kvipKind, birdKind, metallbKind} {
		fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4" fill="%s"/>`+"\n", x+4, y-4, colours[kind])
		benchreport.Label(b, x+14, y, "start", benchreport.Ink, 13, kind)
		x += 34 + 8*len(kind)
	}
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
		"longest time without an answer on any flow (logarithmic; none lost: at the left end)")
}

// band draws one fault: its name, and a lane for each speaker with its target.
func band(b *strings.Builder, top int, f fault, runs []run) {
	benchreport.Line(b, 20, top, plotRight, top, benchreport.Grid, 1)
	name, _, _ := strings.Cut(f.name, ":")
	benchreport.Label(b, 20, top+bandHeight(f)/2+5, "start", benchreport.Ink, 12, name)
	for i, lane := range lanes(f) {
		y := top + bandSpace/2 + laneHeight*i
		benchreport.Label(b, plotLeft-6, y+laneHeight-4, "end", benchreport.Faint, 10, timersOf(lane))
		kind, timers, _ := strings.Cut(lane, "-")
		for _, r := range of(runs, lane, f.key) {
			middle := float64(y) + laneHeight/2 + float64(r.number*3%7-3)
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s" fill-opacity="0.55"/>`+"\n",
				across(outageOf(f, r.result)), middle, colours[kind])
		}
		if limit := f.limit(timers); kind == kvipKind && limit > 0 {
			benchreport.Line(b, across(limit), y+1, across(limit), y+laneHeight-1, benchreport.Target, 2.5)
		}
	}
}
