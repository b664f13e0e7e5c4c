package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	auditPolicyFile = "/etc/audit-policy.yaml"
	auditPolicy     = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:anonymous, system:apiserver]
  - level: Metadata
`
)

// AuditEvent is one answered and authenticated request in an API server's audit log
// (audit.k8s.io/v1, Event).
type AuditEvent struct {
	Received   time.Time    `json:"requestReceivedTimestamp"`
	From       []netip.Addr `json:"sourceIPs"`
	Verb       string       `json:"verb"`
	RequestURI string       `json:"requestURI"`
	UserAgent  string       `json:"userAgent"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
	} `json:"objectRef"` // nil for paths that are not a resource
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

// AuditOffset returns the present length of the node's audit log, for AuditEvents.
func (n *Node) AuditOffset() int64 {
	info, err := os.Stat(n.Log("audit"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// AuditEvents returns the events that the node's API server, with API.Audit, has logged since an
// AuditOffset.
func (n *Node) AuditEvents(since int64) ([]AuditEvent, error) {
	file, err := os.Open(n.Log("audit"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(since, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	var events []AuditEvent
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return events, nil // an incomplete line is being written, or was cut by a kill
		}
		var e AuditEvent
		if json.Unmarshal([]byte(strings.TrimLeft(line, "\x00")), &e) == nil {
			events = append(events, e)
		}
	}
}
