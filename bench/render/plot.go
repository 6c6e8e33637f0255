package render

import "math"

// Plot has lines over a common axis. Both axes are logarithmic.
type Plot struct {
	Title  string
	XTitle string
	X      []float64
	XNames []string    // at the values of X
	Y      [][]float64 // in seconds, by line; NaN has no point
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

// Plots draws the plots that have more than two points, side by side, with one legend.
func Plots(title string, lines []string, plots []*Plot) string {
	const width, height, left, top = 400, 300, 60, 60
	var drawn []*Plot
	for _, p := range plots {
		if len(p.X) > 2 {
			drawn = append(drawn, p)
		}
	}
	c := newCanvas(max(len(drawn), 2)*(width+left)+20, height+top+50, title)
	for i, name := range lines {
		x := float64(left + 230*i)
		c.add(`<rect x="%.1f" y="8" width="12" height="12" fill="%s"/>`+"\n", x, colours[i])
		c.label(x+18, 19, "start", name)
	}
	for i, p := range drawn {
		p.draw(c, float64(left+i*(width+left)), top, width-20, height)
	}
	return c.end()
}

func (p *Plot) draw(c *canvas, left, top, width, height float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, ys := range p.Y {
		for _, v := range ys {
			if !math.IsNaN(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	lo, hi = math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	first, last := math.Log10(p.X[0]), math.Log10(p.X[len(p.X)-1])
	x := func(v float64) float64 { return left + width*(math.Log10(v)-first)/(last-first) }
	y := func(v float64) float64 { return top + height*(hi-math.Log10(v))/(hi-lo) }
	c.label(left+width/2, top-12, "middle", p.Title)
	for e := lo; e <= hi; e++ {
		v := math.Pow(10, e)
		c.stroke(left, y(v), left+width, y(v), 0.4)
		c.label(left-6, y(v)+4, "end", Seconds(v))
	}
	for i, v := range p.X {
		c.stroke(x(v), top, x(v), top+height, 0.15)
		c.label(x(v), top+height+18, "middle", p.XNames[i])
	}
	c.label(left+width/2, top+height+38, "middle", p.XTitle)
	for i, ys := range p.Y {
		var line canvas // its text alone
		for k, v := range ys {
			if math.IsNaN(v) {
				continue
			}
			line.add("%.1f,%.1f ", x(p.X[k]), y(v))
			c.add(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p.X[k]), y(v), colours[i])
		}
		c.add(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", line.text.String(), colours[i])
	}
}
