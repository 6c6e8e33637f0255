package webhook

// Next is next.
var Next = next

// PerReceiver is perReceiver.
const PerReceiver = perReceiver
