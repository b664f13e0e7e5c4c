package fakeapi

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"os"
)

// User is how a kubeconfig authenticates: with a token, or with a fresh client
// certificate of that common name.
type User struct {
	Token      string
	CommonName string
}

// CA returns the certificate of the cluster's authority, PEM.
func (s *Store) CA() []byte { return s.ca.pem }

// WriteKubeconfig writes a kubeconfig whose cluster is at server, which is a URL that
// nobody needs to answer.
func (s *Store) WriteKubeconfig(path, server string, u User) error {
	user := object{}
	if u.Token != "" {
		user["token"] = u.Token
	}
	if u.CommonName != "" {
		cert, key, err := s.ca.issue(&x509.Certificate{
			Subject: pkix.Name{CommonName: u.CommonName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return fmt.Errorf("make client certificate: %w", err)
		}
		user["client-certificate-data"], user["client-key-data"] = cert, key // []byte: base64 in JSON
	}
	text, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "fake",
		"clusters": []object{{"name": "fake", "cluster": object{"server": server, "certificate-authority-data": s.ca.pem}}},
		"users":    []object{{"name": "fake", "user": user}},
		"contexts": []object{{"name": "fake", "context": object{"cluster": "fake", "user": "fake"}}},
	})
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}
