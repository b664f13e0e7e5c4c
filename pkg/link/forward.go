package link

import (
	"fmt"
	"os"
	"strings"
)

// Forwards says whether this host passes packets on between its links (Linux documentation, ip-sysctl):
// where kube-proxy sends them to pods on other nodes, it must.
func Forwards(family4 bool) (bool, error) {
	path := "/proc/sys/net/ipv6/conf/all/forwarding"
	if family4 {
		path = "/proc/sys/net/ipv4/ip_forward"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return strings.TrimSpace(string(content)) != "0", nil
}
