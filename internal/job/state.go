package job

// A State is the stage of a job: queued -> running -> succeeded | failed | cancelled, with cancelling between a cancel
// request and the end of the work.
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

// String returns the state's name in the API.
func (s State) String() string { return name(states[:], s, "state") }

// ParseState is the inverse of String.
func ParseState(s string) (State, error) { return parse[State](states[:], s, "state") }

// States lists every state, in the order of a job's life.
func States() []State { return []State{Queued, Running, Cancelling, Succeeded, Failed, Cancelled} }

// Terminal reports whether the job has ended.
func (s State) Terminal() bool { return s >= Succeeded }

// A Priority is the weight of a job's tasks against other jobs' tasks.
type Priority uint8

// The priorities, lowest first.
const (
	Low Priority = iota + 1
	Normal
	High
)

var priorities = [...]string{Low: "low", Normal: "normal", High: "high"}

// String returns the priority's name in the API.
func (p Priority) String() string { return name(priorities[:], p, "priority") }

// ParsePriority is the inverse of String.
func ParsePriority(s string) (Priority, error) { return parse[Priority](priorities[:], s, "priority") }

// Priorities lists every priority, lowest first.
func Priorities() []Priority { return []Priority{Low, Normal, High} }
