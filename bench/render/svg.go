package render

import (
	"fmt"
	"html"
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
