package concat

// SmallTiles returns the array in tiles of few elements, read in small pieces.
func (a *Array) SmallTiles(tile, run, gap, read int64) *Tiles {
	return a.tiles(limits{tile: tile, run: run, gap: gap, read: read}, NewCache())
}
