package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The plots have no background of their own, and colours that can be read on white and on black.
const ink = "#808890"

var colours = []string{"#2f81f7", "#e0702d", "#a371f7", "#2ea043", "#d4a72c", "#db61a2"}

// canvas is an SVG under construction.
type canvas struct{ text strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(&c.text, format, args...) }

func newCanvas(width, height int, title string) *canvas {
	c := &canvas{}
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">`+"\n", width, height)
	c.add("<title>%s</title>\n", html.EscapeString(title))
	return c
}

func (c *canvas) label(x, y float64, anchor, text string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, ink, html.EscapeString(text))
}

func (c *canvas) stroke(x1, y1, x2, y2 float64, opacity float64) {
	c.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-opacity="%.2f"/>`+"\n", x1, y1, x2, y2, ink, opacity)
}

func (c *canvas) end() string {
	c.add("</svg>\n")
	return c.text.String()
}

// plot is times by the side of chunks, both on logarithmic axes.
type plot struct {
	title string
	sides []float64
	times [3][]float64 // of lineNames
}

var lineNames = [3]string{"gather, POST to result", "Dask, file, compute() alone", "Dask, memory, compute() alone"}

// line adds a point to each line of the plot of a size.
func (r *report) line(title string, side float64, times ...float64) {
	if n := len(r.plots); n == 0 || r.plots[n-1].title != title {
		r.plots = append(r.plots, &plot{title: title})
	}
	p := r.plots[len(r.plots)-1]
	p.sides = append(p.sides, side)
	for i, t := range times {
		p.times[i] = append(p.times[i], t)
	}
}

// svgOf draws the plots that have enough points, side by side.
func svgOf(plots []*plot) string {
	const width, height, left, top = 400, 300, 60, 60
	var drawn []*plot
	for _, p := range plots {
		if len(p.sides) > 2 {
			drawn = append(drawn, p)
		}
	}
	c := newCanvas(max(len(drawn), 2)*(width+left)+20, height+top+50, "Time to sum by the size of chunks")
	for i, name := range lineNames {
		x := float64(left + 230*i)
		c.add(`<rect x="%.1f" y="8" width="12" height="12" fill="%s"/>`+"\n", x, colours[i])
		c.label(x+18, 19, "start", name)
	}
	for i, p := range drawn {
		p.draw(c, float64(left+i*(width+left)), top, width-20, height)
	}
	return c.end()
}

func (p *plot) draw(c *canvas, left, top, width, height float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, times := range p.times {
		for _, t := range times {
			lo, hi = min(lo, t), max(hi, t)
		}
	}
	lo, hi = math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	first, last := math.Log10(p.sides[0]), math.Log10(p.sides[len(p.sides)-1])
	x := func(side float64) float64 { return left + width*(math.Log10(side)-first)/(last-first) }
	y := func(t float64) float64 { return top + height*(hi-math.Log10(t))/(hi-lo) }
	c.label(left+width/2, top-12, "middle", p.title+" of float64")
	for e := lo; e <= hi; e++ {
		t := math.Pow(10, e)
		c.stroke(left, y(t), left+width, y(t), 0.4)
		c.label(left-6, y(t)+4, "end", seconds(t))
	}
	for i, side := range p.sides {
		c.stroke(x(side), top, x(side), top+height, 0.15)
		text := fmt.Sprintf("%.0f²", side)
		if i == len(p.sides)-1 {
			text = "whole"
		}
		c.label(x(side), top+height+18, "middle", text)
	}
	c.label(left+width/2, top+height+38, "middle", "elements of a chunk")
	for i, times := range p.times {
		var points strings.Builder
		for k, t := range times {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(p.sides[k]), y(t))
			c.add(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p.sides[k]), y(t), colours[i])
		}
		c.add(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", points.String(), colours[i])
	}
}

// bars are speeds of contenders by size.
type bars struct {
	names, sizes []string
	speeds       map[[2]string]float64
}

func (b *bars) add(name, size string, gbps float64) {
	if b.speeds == nil {
		b.speeds = map[[2]string]float64{}
	}
	b.names, b.sizes = including(b.names, name), including(b.sizes, size)
	b.speeds[[2]string{name, size}] = gbps
}

func including(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

func (b *bars) svg() string {
	const left, width, bar, gap = 190.0, 520.0, 20.0, 34.0
	most := 0.0
	for _, v := range b.speeds {
		most = max(most, v)
	}
	height := float64(len(b.speeds))*bar + float64(len(b.sizes))*gap + 10
	c := newCanvas(int(left+width+80), int(height), "Speed of sums on one core")
	y := 0.0
	for _, size := range b.sizes {
		y += gap
		c.label(left, y-8, "start", size+" of float64, one core, GB/s")
		for i, name := range b.names {
			v, ok := b.speeds[[2]string{name, size}]
			if !ok {
				continue
			}
			c.label(left-8, y+bar-6, "end", strings.ReplaceAll(name, "`", ""))
			c.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, y+1, width*v/most, bar-3, colours[i])
			c.label(left+width*v/most+6, y+bar-6, "start", fmt.Sprintf("%.1f", v))
			y += bar
		}
	}
	return c.end()
}
