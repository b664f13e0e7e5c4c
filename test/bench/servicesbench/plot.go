package servicesbench

import (
	"fmt"
	"math"
	"strings"

	"github.com/kvip/kvip/test/benchreport"
)

// Geometry of the plot in pixels: panels beside each other in two rows, each with the number of
// Services from left to right.
const (
	panelWidth, panelHeight = 430, 250
	marginLeft, marginTop   = 56, 46
	marginRight             = 24
	marginBottom            = 44
	plotTop                 = 44
)

// panel is one measure against the number of Services.
type panel struct {
	title  string
	target float64 // 0: none
	values func(result) []float64
}

var panels = []panel{
	{"address in status of each, at most (s)", addressWithin.Seconds(),
		func(r result) []float64 { return []float64{r.Address.Max.Seconds()} }},
	{"addresses of a dead node elsewhere, at most (s)", elsewhereWithin.Seconds(),
		func(r result) []float64 {
			if r.DeadAddresses == 0 {
				return nil
			}
			return []float64{r.Elsewhere.Max.Seconds()}
		}},
	{"CPU of each node, idle (% of a core)", idleCPU, func(r result) []float64 { return r.CPU[:] }},
	{"memory of each node (RSS, MB)", idleRSS, func(r result) []float64 {
		var list []float64
		for _, x := range r.RSS {
			list = append(list, x*mbPerMiB)
		}
		return list
	}},
	{"API writes of all agents, idle (a second)", 0,
		func(r result) []float64 { return []float64{r.Writes} }},
	{"API reads of all agents, idle (a second)", 0,
		func(r result) []float64 { return []float64{r.Reads} }},
}

// plot draws every result as a dot in each panel. It is an SVG document.
func plot(results []result) string {
	const perRow = 2
	rows := (len(panels) + perRow - 1) / perRow
	var b strings.Builder
	benchreport.OpenPlot(&b, perRow*panelWidth, plotTop+rows*panelHeight)
	benchreport.Label(&b, 20, 26, "start", benchreport.Ink, 16,
		"Services on three nodes, each dot one run or one node of it")
	for i, p := range panels {
		p.draw(&b, i%perRow*panelWidth, plotTop+i/perRow*panelHeight, results)
	}
	benchreport.ClosePlot(&b)
	return b.String()
}

// draw draws the panel with its upper left corner at x, y.
func (p panel) draw(b *strings.Builder, x, y int, results []result) {
	top := p.target
	for _, r := range results {
		for _, v := range p.values(r) {
			top = max(top, v)
		}
	}
	top = roundUp(top * 1.05)
	left, right, bottom, head := float64(x+marginLeft), float64(x+panelWidth-marginRight),
		y+panelHeight-marginBottom, y+marginTop
	height := func(v float64) int { return bottom - int(math.Round(v/top*float64(bottom-head))) }
	benchreport.Label(b, x+20, y+24, "start", benchreport.Ink, 13, p.title)
	for part := range 5 {
		v := top * float64(part) / 4
		benchreport.Line(b, left, height(v), right, height(v), benchreport.Grid, 1)
		benchreport.Label(b, x+marginLeft-8, height(v)+4, "end", benchreport.Faint, 11,
			fmt.Sprintf("%.3g", v))
	}
	for _, n := range []int{10, 100, 1000, 10000} {
		at := across(n, left, right)
		benchreport.Line(b, at, head, at, bottom+4, benchreport.Grid, 1)
		benchreport.Label(b, int(at), bottom+18, "middle", benchreport.Faint, 11, fmt.Sprint(n))
	}
	if p.target > 0 {
		benchreport.Line(b, left, height(p.target), right, height(p.target), benchreport.Target, 2)
	}
	for _, r := range results {
		for _, v := range p.values(r) {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%d" r="3.4" fill="%s" fill-opacity="0.6"/>`+"\n",
				across(r.Services, left, right), height(v), benchreport.Blue)
		}
	}
}

// across is the place of a number of Services on the axis, which is logarithmic from 10 to 10000.
// Numbers outside it are drawn at its ends.
func across(services int, left, right float64) float64 {
	part := (math.Log10(float64(services)) - 1) / 3
	return left + min(max(part, 0), 1)*(right-left)
}

// roundUp is the next of 1, 2, 4 or 8 times a power of ten; 1 for 0.
func roundUp(x float64) float64 {
	if x <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 4, 8} {
		if x <= f*power {
			return f * power
		}
	}
	return 10 * power
}
