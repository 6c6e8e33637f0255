package render

import "math"

// Plot has lines over a common axis.
type Plot struct {
	Title  string
	XTitle string
	X      []float64
	XNames []string    // at the values of X; no tick where it is empty
	Y      [][]float64 // by line; NaN has no point

	// Linear axes begin at 0 and are for many points; the default is logarithmic.
	Linear bool
	// Format formats the ticks of Y; the default is of seconds.
	Format func(float64) string
}

// Add adds a point to each line.
func (p *Plot) Add(x float64, name string, y ...float64) {
	p.X, p.XNames = append(p.X, x), append(p.XNames, name)
	if p.Y == nil {
		p.Y = make([][]float64, len(y))
	}
	for i, v := range y {
		p.Y[i] = append(p.Y[i], v)
	}
}

// Plots draws the plots that have more than two points, with one legend if there are several lines.
func Plots(title string, lines []string, plots []*Plot) string {
	const width, height, left, top, between = 400, 300, 60, 60, 110
	var drawn []*Plot
	for _, p := range plots {
		if len(p.X) > 2 {
			drawn = append(drawn, p)
		}
	}
	columns := len(drawn)
	if columns > 3 {
		columns = 2
	}
	rows := 1
	if columns > 0 {
		rows = (len(drawn) + columns - 1) / columns
	}
	c := newCanvas(max(columns, 2)*(width+left)+20, top+rows*height+(rows-1)*between+50, title)
	if len(lines) > 1 {
		for i, name := range lines {
			x := float64(left + 230*i)
			c.add(`<rect x="%.1f" y="8" width="12" height="12" fill="%s"/>`+"\n", x, colours[i])
			c.label(x+18, 19, "start", name)
		}
	}
	for i, p := range drawn {
		p.draw(c, float64(left+i%columns*(width+left)), float64(top+i/columns*(height+between)), width-20, height)
	}
	return c.end()
}

func (p *Plot) draw(c *canvas, left, top, width, height float64) {
	xScale, yTicks, yScale := p.scales()
	x := func(v float64) float64 { return left + width*xScale(v) }
	y := func(v float64) float64 { return top + height*(1-yScale(v)) }
	format := p.Format
	if format == nil {
		format = Seconds
	}
	c.label(left+width/2, top-12, "middle", p.Title)
	for _, v := range yTicks {
		c.stroke(left, y(v), left+width, y(v), 0.4)
		c.label(left-6, y(v)+4, "end", format(v))
	}
	for i, v := range p.X {
		if p.XNames[i] != "" {
			c.stroke(x(v), top, x(v), top+height, 0.15)
			c.label(x(v), top+height+18, "middle", p.XNames[i])
		}
	}
	c.label(left+width/2, top+height+38, "middle", p.XTitle)
	for i, ys := range p.Y {
		var line canvas // its points alone
		for k, v := range ys {
			if math.IsNaN(v) {
				continue
			}
			line.add("%.1f,%.1f ", x(p.X[k]), y(v))
			if !p.Linear {
				c.add(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p.X[k]), y(v), colours[i])
			}
		}
		c.add(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", line.text.String(), colours[i])
	}
}

// scales returns the positions of values on both axes, from 0 to 1, and the ticks of Y.
func (p *Plot) scales() (x func(float64) float64, ticks []float64, y func(float64) float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, ys := range p.Y {
		for _, v := range ys {
			if !math.IsNaN(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	first, last := p.X[0], p.X[len(p.X)-1]
	if p.Linear {
		step := niceStep(hi)
		for v := 0.0; v < hi+step; v += step {
			ticks = append(ticks, v)
		}
		top := ticks[len(ticks)-1]
		return func(v float64) float64 { return (v - first) / (last - first) }, ticks, func(v float64) float64 { return v / top }
	}
	lo, hi = math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	for e := lo; e <= hi; e++ {
		ticks = append(ticks, math.Pow(10, e))
	}
	x = func(v float64) float64 { return math.Log10(v/first) / math.Log10(last/first) }
	return x, ticks, func(v float64) float64 { return (math.Log10(v) - lo) / (hi - lo) }
}

// niceStep is 1, 2 or 5 times a power of ten, of which about five reach hi.
func niceStep(hi float64) float64 {
	if hi <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(hi/5)))
	for _, f := range []float64{1, 2, 5} {
		if f*power*5 >= hi {
			return f * power
		}
	}
	return 10 * power
}
