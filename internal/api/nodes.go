package api

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"gather/internal/job"
)

// listNodes implements GET /v1/nodes.
func (s *server) listNodes(x *requestState) error {
	nodes, err := s.Nodes.Nodes(x)
	if err != nil {
		return err
	}
	h := x.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = privateNoCache
	x.WriteHeader(http.StatusOK)
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = append(appendNodes(*buf, nodes, x.principal.Tenant), '\n')
	return clientError(x.srv.writeWithDeadline(x, *buf))
}

// appendNodes appends the JSON of nodes, oldest first, with the job counts of one tenant.
func appendNodes(b []byte, nodes []job.Node, tenant string) []byte {
	nodes = slices.SortedFunc(slices.Values(nodes), func(x, y job.Node) int {
		return cmp.Or(x.StartedAt.Compare(y.StartedAt), cmp.Compare(x.ID, y.ID))
	})
	b = append(b, `{"nodes":[`...)
	for i := range nodes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNode(b, &nodes[i], tenant)
	}
	return append(b, "]}"...)
}

func appendNode(b []byte, n *job.Node, tenant string) []byte {
	b = appendString(append(b, `{"id":`...), n.ID)
	b = appendString(append(b, `,"name":`...), n.Name)
	b = appendString(append(b, `,"version":`...), n.Version)
	b = appendTime(append(b, `,"started_at":`...), n.StartedAt)
	b = appendTime(append(b, `,"seen_at":`...), n.SeenAt)
	b = strconv.AppendBool(append(b, `,"self":`...), n.Self)
	b = strconv.AppendBool(append(b, `,"draining":`...), n.Draining)
	b = strconv.AppendInt(append(b, `,"workers":`...), int64(n.Workers), 10)
	b = strconv.AppendInt(append(b, `,"workers_busy":`...), int64(n.Busy), 10)
	b = strconv.AppendInt(append(b, `,"waiting_items":`...), n.Waiting, 10)
	b = strconv.AppendUint(append(b, `,"behind":`...), n.Behind, 10)
	b = strconv.AppendFloat(append(b, `,"clock_skew_seconds":`...), n.ClockSkew.Seconds(), 'f', -1, 64)
	b = append(b, `,"jobs":[`...)
	jobs := slices.DeleteFunc(slices.Clone(n.Jobs), func(j job.NodeJob) bool { return j.Tenant != tenant })
	slices.SortFunc(jobs, func(x, y job.NodeJob) int { return bytes.Compare(x.ID[:], y.ID[:]) })
	for i := range jobs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendID(append(b, `{"id":"`...), jobs[i].ID), '"')
		b = appendString(append(b, `,"kind":`...), jobs[i].Kind)
		b = strconv.AppendInt(append(b, `,"running":`...), int64(jobs[i].Running), 10)
		b = strconv.AppendInt(append(b, `,"waiting":`...), int64(jobs[i].Waiting), 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}
