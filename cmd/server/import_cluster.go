package main

import (
	"context"
	"errors"
	"io"
)

func (c *importCmd) openCluster(context.Context, io.Writer) (*destination, error) {
	return nil, errors.New("--nats-url: this build cannot import into a cluster")
}
