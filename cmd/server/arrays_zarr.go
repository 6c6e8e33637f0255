package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"gather/internal/chunked"
	"gather/internal/kind"
	"gather/internal/zarrstore"
)

// openZarr opens a Zarr array of an allowed bucket.
func (a storedArrays) openZarr(ctx context.Context, url string, pin []byte) (kind.Opened, error) {
	var p zarrstore.Pin
	var array *zarrstore.Array
	var err error
	if pin == nil {
		array, p, err = a.probeZarr(ctx, url)
	} else if err = json.Unmarshal(pin, &p); err == nil {
		array, err = a.zarr.Reopen(url, p)
	}
	if err != nil {
		return kind.Opened{}, err
	}
	text, err := json.Marshal(p)
	return kind.Opened{
		Stored: chunked.Stored{
			Header: array.Header, Tile: array.Chunk, Tiles: redactingTiles{array, a.log, url}, Remote: array.Remote(),
		},
		Pin: text, Memory: p.Memory(), Close: func() error { return nil },
	}, err
}

func (a storedArrays) probeZarr(ctx context.Context, url string) (*zarrstore.Array, zarrstore.Pin, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := a.acquireProbe(ctx); err != nil {
		return nil, zarrstore.Pin{}, err
	}
	defer a.releaseProbe()
	return a.zarr.Open(ctx, url)
}

// redactingTiles reads an array in tiles for a job. Errors that contain hosts and paths go to the log instead of to the
// client.
type redactingTiles struct {
	chunked.Tiles
	log   *slog.Logger
	array string
}

// ReadTile implements chunked.Tiles.
func (r redactingTiles) ReadTile(ctx context.Context, i int64, dst []byte) error {
	return redact(ctx, r.log, r.array, r.Tiles.ReadTile(ctx, i, dst))
}

// CachedTile implements chunked.Tiles.
func (r redactingTiles) CachedTile(ctx context.Context, i int64) ([]byte, error) {
	tile, err := r.Tiles.CachedTile(ctx, i)
	return tile, redact(ctx, r.log, r.array, err)
}
