package agent

import (
	"fmt"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
)

// identity names this agent in the lease: node name, boot and network namespace. It
// differs between nodes that share a name or a kernel, and is the same after a restart (E8).
func identity(node string) (string, error) {
	boot, err := link.BootID()
	if err != nil {
		return "", fmt.Errorf("make identity of %s: %w", node, err)
	}
	inode, err := link.NetnsInode()
	if err != nil {
		return "", fmt.Errorf("make identity of %s: %w", node, err)
	}
	return fmt.Sprintf("%s_%.13s_%d", node, boot, inode), nil
}

// twin reports whether holder is another machine under this node's name.
func twin(holder, own string) bool {
	return holder != "" && holder != own && election.NodeName(holder) == election.NodeName(own)
}
