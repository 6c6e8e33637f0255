// Package kind implements the job kinds, one file each, and their registry: a kind turns a spec into a plan of tasks
// and reduces the partials of the tasks.
//
// To add a kind, add a file that registers it, and its schema in openapi.yaml.
//
// Guarantees. Planning is deterministic: the same spec has the same tasks on every node and after every restart of the
// same version. Validation reports all errors of a spec together, each with its JSON pointer. Sizes are checked before
// memory is allocated for them, because specs are untrusted. The package starts no goroutine but those of package outbound, and
// tasks use no more memory than their worker's scratch and their own results.
package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/outbound"
)

// Limits bound one job.
type Limits struct {
	// Items bounds the items of a batch.
	Items int64
	// Digits bounds the decimal digits of one integer.
	Digits int64
	// Chunks bounds the chunks of an array, Outputs the elements of the result of a sum over some axes.
	Chunks, Outputs int64
}

// DefaultLimits returns generous limits for a server of any size.
func DefaultLimits() Limits {
	return Limits{Items: 10_000_000, Digits: 100_000, Chunks: 1_000_000, Outputs: 1_000_000}
}

// A definition registers a kind.
type definition struct {
	name    string
	summary string
	// plan validates a spec, a JSON object. Errors: *fields.Errors with every error.
	plan func(spec []byte, e env) (job.Plan, error)
	// limits returns the limits that apply to the kind, by name.
	limits func(l Limits) map[string]int64
	// items selects items of a spec; nil if a job of the kind is retried as a whole.
	items selector
	// values is job.KindInfo.Values.
	values bool
}

// env is the environment of planning.
type env struct {
	Limits
	ctx    context.Context //nolint:containedctx // an argument of every plan function
	tenant string
	arrays Arrays           // nil for none
	http   *outbound.Sender // nil if HTTP requests are not allowed
	// again is true for a spec that an earlier plan pinned.
	again bool
}

// Arrays opens stored arrays.
type Arrays interface {
	// Open opens an array of a tenant by name or URL, until the job has ended. pin is nil the first time; later it is
	// the pin of the first Open, and the content must be unchanged. Its error is visible to clients.
	Open(ctx context.Context, tenant string, ref chunked.Ref, pin []byte) (Opened, error)
}

// Opened is an open stored array.
type Opened struct {
	chunked.Stored
	// Pin is a JSON object that identifies this content.
	Pin []byte
	// Memory is the memory of the open array, in bytes, if that is more than some hundreds.
	Memory int64
	// Close releases the array.
	Close func() error
}

// pinned is a plan that depends on more than its spec. Spec returns the spec including its dependencies.
type pinned interface{ Spec() []byte }

var definitions = map[string]definition{}

// register registers a kind. The init function of each kind's file calls it.
func register(d definition) {
	if _, ok := definitions[d.name]; ok {
		panic("kind: registered twice: " + d.name)
	}
	definitions[d.name] = d
}

// Registry has all kinds. It is immutable.
type Registry struct {
	limits Limits
	arrays Arrays
	http   *outbound.Sender
}

// NewRegistry returns a registry of all kinds with limits. arrays may be nil.
func NewRegistry(l Limits, arrays Arrays) *Registry { return &Registry{limits: l, arrays: arrays} }

// WithHTTP returns a registry whose kinds may send HTTP requests; nil for none.
func (r *Registry) WithHTTP(s *outbound.Sender) *Registry {
	next := *r
	next.http = s
	return &next
}

// Names returns the sorted names of the kinds.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(definitions)) }

// Plan validates a tenant's spec and splits it into tasks. It also returns the spec for Replan after a restart, which
// includes everything that the plan depends on. Errors: *fields.Errors with every error. A plan that is an io.Closer
// must be closed when its job has ended.
func (r *Registry) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := r.plan(kind, spec, env{Limits: r.limits, ctx: ctx, tenant: tenant, arrays: r.arrays, http: r.http})
	if err != nil {
		return nil, nil, err
	}
	if pin, ok := p.(pinned); ok {
		spec = pin.Spec()
	}
	return p, spec, nil
}

// Replan is Plan for a spec that Plan returned. If what it depends on has changed since, the error is a *job.Failure.
func (r *Registry) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	return r.plan(kind, spec, env{Limits: r.limits, ctx: ctx, tenant: tenant, arrays: r.arrays, http: r.http, again: true})
}

func (r *Registry) plan(kind string, spec []byte, e env) (job.Plan, error) {
	d, ok := definitions[kind]
	if !ok {
		return nil, fields.Invalidf("/kind", "unknown kind %s; one of: %s", quote(kind), strings.Join(r.Names(), ", "))
	}
	return d.plan(spec, e)
}

// Validate returns the errors of Plan.
func (r *Registry) Validate(ctx context.Context, tenant, kind string, spec []byte) error {
	p, _, err := r.Plan(ctx, tenant, kind, spec)
	if c, ok := p.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// AppendMembers appends the members of a spec as they were submitted, without the dependencies that Plan added, each after
// a comma.
func (r *Registry) AppendMembers(dst, spec []byte) []byte {
	o, _ := fields.Read(spec, new(fields.Errors))
	for _, name := range o.Names() {
		if slices.Contains(pinFields, name) {
			continue
		}
		dst, _ = jsontext.AppendQuote(append(dst, ','), name)
		dst = append(append(dst, ':'), o.Get(name)...)
	}
	return dst
}

// Describe returns the kinds with their limits.
func (r *Registry) Describe() []job.KindInfo {
	infos := make([]job.KindInfo, 0, len(definitions))
	for _, name := range r.Names() {
		d := definitions[name]
		infos = append(infos, job.KindInfo{Name: name, Summary: d.summary, Limits: d.limits(r.limits), Values: d.values})
	}
	return infos
}

// quote returns input of any length quoted and shortened, for an error.
func quote(s string) string {
	if len(s) > 40 {
		s = s[:37] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// counter is the reducer of a batch: its result is the number of items.
type counter struct{ n int64 }

// Add implements job.Reducer. Tasks of a batch have item results and no partial.
func (c counter) Add(task int, partial []byte) error {
	if len(partial) > 0 {
		return fmt.Errorf("%w: partial of task %d", job.ErrCorrupt, task)
	}
	return nil
}

// Outcome implements job.Reducer.
func (c counter) Outcome() (job.Outcome, error) {
	return job.Outcome{Value: fmt.Append(nil, c.n)}, nil
}

// sliceCount returns the number of tasks of size items for n items.
func sliceCount(n, size int64) int { return int((n + size - 1) / size) }
