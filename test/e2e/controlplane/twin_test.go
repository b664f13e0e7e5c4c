package controlplane

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestTwins gives two nodes the same name: their agents never hold together, and the one
// that does not hold says clearly what is wrong (E8).
func TestTwins(t *testing.T) {
	s := prepare(t)
	twins := s.c.Nodes[:2]
	for _, n := range twins {
		args, env, err := cluster.ArgsFromManifest(s.manifest(), "same-name")
		s.ok(err)
		_, err = n.RunKvip(s.kvip, args, env)
		s.ok(err)
	}
	s.settle()
	for range twins {
		holder := s.holder()
		other := twins[0]
		if other == holder {
			other = twins[1]
		}
		s.logs(other, "level=ERROR", "node's name", "same-name")
		s.unready(other, "node's name", "same-name")
		s.ready(holder)
		s.ok(holder.Agent().Terminate(patience)) // the twin takes over, as any other node may
		s.moved(holder)
		s.ok(holder.RestartAgent())
	}
}
