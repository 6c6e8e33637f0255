// Command server is the gather server, an HTTP microservice that executes parallel jobs.
package main

import (
	"context"
	"os"
)

func main() {
	keepPrivate()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
