package controlplane

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestDuplicateNodeName gives two nodes the same name: their agents never hold together, and the
// one that does not hold says clearly what is wrong (E8).
func TestDuplicateNodeName(t *testing.T) {
	s := prepareEnv(t)
	duplicates := s.c.Nodes[:2]
	for _, n := range duplicates {
		args, env, err := cluster.ArgsFromManifest(s.manifest(), "same-name")
		s.must(err)
		_, err = n.RunKvip(s.kvip, args, env)
		s.must(err)
	}
	s.waitSettled()
	for range duplicates {
		holder := s.holder()
		other := duplicates[0]
		if other == holder {
			other = duplicates[1]
		}
		s.waitLogged(other, "level=ERROR", "node's name", "same-name")
		s.waitUnready(other, "node's name", "same-name")
		s.waitReady(holder)
		s.must(holder.Agent().Terminate(patience)) // the twin takes over, as any other node may
		s.waitMoved(holder)
		s.must(holder.RestartAgent())
	}
}
