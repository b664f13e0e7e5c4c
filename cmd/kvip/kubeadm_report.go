package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/printable"
)

// discoveryNotes says of a JoinConfiguration that discovers by a kubeconfig, which is left alone,
// whether that leads to the VIP.
func discoveryNotes(plan kubeadm.Plan) []string {
	file := plan.DiscoveryFile
	if file == "" {
		return nil
	}
	if strings.Contains(file, "://") {
		return []string{"discovery.file " + file + " is left alone and was not fetched: its server should be https://" + plan.Endpoint}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return []string{fmt.Sprintf("discovery.file cannot be read here (%v): its server should be https://%s", err, plan.Endpoint)}
	}
	servers, err := kubeadm.DiscoveryServers(text)
	if err != nil {
		return []string{fmt.Sprintf("discovery.file %s is left alone: %v", file, err)}
	}
	var notes []string
	for _, server := range servers {
		if server != "https://"+plan.Endpoint {
			notes = append(notes, fmt.Sprintf("discovery.file %s is left alone: its server is %s, not https://%s", file, server, plan.Endpoint))
		}
	}
	return notes
}

// report says what to know and what to do next.
func (p *preparation) report(plan kubeadm.Plan, to io.Writer) error {
	var text strings.Builder
	for _, note := range plan.Notes {
		fmt.Fprintf(&text, "Note: %s.\n", printable.Lines(note))
	}
	if !plan.ControlPlane {
		text.WriteString("Note: a JoinConfiguration without controlPlane is a worker's, which gets no static pod.\n")
	}
	text.WriteString("\nNext" + p.provided() + ":\n  " + p.next(plan) + "\n")
	if p.config == "" && p.command == "join" {
		text.WriteString("with the token, the hash and the key that 'kubeadm init --upload-certs' printed on the first node.\n")
	}
	if _, err := io.WriteString(to, text.String()); err != nil {
		return fmt.Errorf("print the next command: %w", err)
	}
	return nil
}

// provided is what the next command needs beside the files that were written.
func (p *preparation) provided() string {
	if p.output == stream {
		return ", with stdout saved as " + madeConfig
	}
	return ""
}

// next is the command line that comes after this one.
func (p *preparation) next(plan kubeadm.Plan) string {
	file := shellQuote(p.output)
	if p.output == stream {
		file = madeConfig
	}
	switch {
	case p.command == "init":
		return "kubeadm init --config " + file + " --upload-certs"
	case p.config != "":
		return "kubeadm join --config " + file
	}
	line := "kubeadm join " + plan.Endpoint + " --control-plane --token TOKEN --discovery-token-ca-cert-hash HASH --certificate-key KEY"
	if plan.Port != config.DefaultPort {
		line += fmt.Sprintf(" --apiserver-bind-port %d", plan.Port)
	}
	return line
}

// shellQuote writes a path so that a shell takes it as one word.
func shellQuote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" && !strings.HasPrefix(path, "-") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
