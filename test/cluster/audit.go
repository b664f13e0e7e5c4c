package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	auditPolicyFile = "/etc/audit-policy.yaml"
	auditPolicy     = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
`
)

// AuditEvent is one answered request in an API server's audit log (audit.k8s.io/v1, Event).
type AuditEvent struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef *struct {
		Resource  string `json:"resource"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		APIGroup  string `json:"apiGroup"`
	} `json:"objectRef"` // nil for paths that are no resource
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

func (n *Node) writeAuditPolicy() error {
	path := filepath.Join(n.Host.Etc, filepath.Base(auditPolicyFile))
	if err := os.WriteFile(path, []byte(auditPolicy), 0o644); err != nil {
		return fmt.Errorf("write audit policy: %w", err)
	}
	return nil
}

// Audit reads what the node's API server has logged since the cluster began, with API.Audit.
func (n *Node) Audit() ([]AuditEvent, error) {
	file, err := os.Open(n.Log("audit"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	defer file.Close()
	var events []AuditEvent
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return events, nil // what is not a whole line is being written or was cut by a kill
		}
		var e AuditEvent
		if json.Unmarshal([]byte(strings.TrimLeft(line, "\x00")), &e) == nil {
			events = append(events, e)
		}
	}
}
