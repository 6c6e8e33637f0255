package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/bucket"
)

// registerArrays registers the metrics of uploaded arrays. In a cluster every node reports the whole store.
func registerArrays(reg prometheus.Registerer, store arrayStore, buckets *bucket.Set) error {
	gauge := func(name, help string, value func() float64) error {
		return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	return errors.Join(
		gauge("gather_arrays", "Number of uploaded arrays of all tenants.", func() float64 {
			arrays, _ := store.Totals()
			return float64(arrays)
		}),
		gauge("gather_array_bytes", "Bytes of the uploaded arrays of all tenants.", func() float64 {
			_, bytes := store.Totals()
			return float64(bytes)
		}),
		gauge("gather_arrays_damaged", "Uploaded arrays of all tenants whose file or record is known to be damaged.", func() float64 {
			return float64(store.Damaged())
		}),
		gauge("gather_bucket_reads_stuck", "Abandoned reads of bucket directories that have not returned.", func() float64 {
			return float64(buckets.Stuck())
		}),
	)
}
