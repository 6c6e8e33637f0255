package job

// The first unknown format, tag of an event and kind of a proposal.
const (
	Formats       = formats
	Tags          = tags
	ProposalKinds = proposalKinds
)
