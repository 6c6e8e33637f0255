package job

// A State is where a job stands: queued -> running -> succeeded | failed | cancelled, with cancelling between a cancel
// request and the moment the work has really stopped.
type State uint8

// The states of a job.
const (
	Queued State = iota + 1
	Running
	Cancelling
	Succeeded
	Failed
	Cancelled
)

var states = [...]string{
	Queued: "queued", Running: "running", Cancelling: "cancelling",
	Succeeded: "succeeded", Failed: "failed", Cancelled: "cancelled",
}

// String returns the state as the API spells it.
func (s State) String() string { return name(states[:], s, "state") }

// ParseState is the inverse of String.
func ParseState(s string) (State, error) { return parse[State](states[:], s, "state") }

// States lists every state, in the order of a job's life.
func States() []State { return []State{Queued, Running, Cancelling, Succeeded, Failed, Cancelled} }

// Terminal reports whether the job has ended.
func (s State) Terminal() bool { return s >= Succeeded }

// A Priority weighs a job's turns on the pool against other jobs' turns.
type Priority uint8

// The priorities, lowest first.
const (
	Low Priority = iota + 1
	Normal
	High
)

var priorities = [...]string{Low: "low", Normal: "normal", High: "high"}

// String returns the priority as the API spells it.
func (p Priority) String() string { return name(priorities[:], p, "priority") }

// ParsePriority is the inverse of String.
func ParsePriority(s string) (Priority, error) { return parse[Priority](priorities[:], s, "priority") }

// Priorities lists every priority, lowest first.
func Priorities() []Priority { return []Priority{Low, Normal, High} }
